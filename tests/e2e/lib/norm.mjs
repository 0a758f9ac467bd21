/*
 * Makes results comparable: keys sorted, and what differs from run to run replaced by its kind.
 */
import { createHash } from 'node:crypto';

const CHANGING = [
	[/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/gi, '<uuid>'],
	[/\b[0-9a-f]{32}\b/g, '<id>'],
	[/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g, '<time>'],
	[/\d{1,2}:\d\d:\d\d(\u202f| )[AP]M/g, '<time>'],
	[/session (undefined|<uuid>|<id>)/g, 'session <session>'],
	[/ - SessionId <uuid>/g, ''],
	[/ from session <session>/g, ''],
];

function sorted(value) {
	if (Array.isArray(value))
		return value.map(sorted);
	if (value === null || typeof value !== 'object')
		return value;
	return Object.fromEntries(Object.keys(value).sort().map(key => [key, sorted(value[key])]));
}

/* replace: [[text, by], …] for what the run itself knows to differ, such as its directory. */
export function normalise(value, replace = []) {
	let line = typeof value === 'string' ? value : JSON.stringify(sorted(value)) ?? 'undefined';
	for (const [what, by] of replace)
		line = line.replaceAll(what, by);
	for (const [pattern, by] of CHANGING)
		line = line.replace(pattern, by);
	return line.replaceAll('\n', '\\n');
}

/* One line: short values as they are, long ones cut, with a digest of all. */
export function asDetail(line, limit = 160) {
	if (line.length <= limit)
		return line;
	const digest = createHash('sha256').update(line).digest('hex').slice(0, 12);
	return `${line.slice(0, limit)}… ${line.length} characters, sha256 ${digest}`;
}
