#include "modern.h"
#include "json.h"
#include "json_write.h"
#include "worker.h"

void modern_write_members(struct buf *out, uint32_t ttl_ms, bool is_private)
{
	buf_printf(out, "\"resultType\":\"complete\",\"ttlMs\":%u,\"cacheScope\":\"%s\"", ttl_ms,
		is_private ? "private" : "public");
}

void modern_discover(struct request *request)
{
	const struct catalogue *catalogue = request->worker->catalogue;
	struct span capabilities = catalogue ? catalogue_capabilities(catalogue, CATALOGUE_MODERN) : SPAN_LIT("{}");
	struct span instructions = catalogue ? catalogue_instructions(catalogue) : SPAN_NONE;
	struct buf out;

	buf_init(&out, 4u * 1024 * 1024);
	buf_append_char(&out, '{');
	modern_write_members(&out, 0, false);
	buf_append_str(&out, ",\"supportedVersions\":");
	mcp_write_versions(&out);
	buf_append_str(&out, ",\"capabilities\":");
	buf_append_span(&out, capabilities);
	buf_append_str(&out, ",\"_meta\":{\"" MCP_META_SERVER_INFO "\":{\"name\":\"gatehouse\",\"title\":\"Gatehouse\","
			     "\"version\":\"" GATEHOUSE_VERSION "\"}}");
	if (instructions.len) {
		buf_append_str(&out, ",\"instructions\":");
		json_write_string(&out, instructions);
	}
	buf_append_char(&out, '}');
	request_result(request, buf_span(&out));
	buf_free(&out);
}

int modern_result(const struct request *request, struct span result, struct buf *out)
{
	bool cached = mcp_method_info(request->method)->flags & MCP_CACHED;
	bool has_type = json_object_get(result, SPAN_LIT("resultType")).len > 0;
	struct span members = cached ? SPAN_LIT("\"resultType\":\"complete\",\"ttlMs\":0,\"cacheScope\":\"private\"")
				     : SPAN_LIT("\"resultType\":\"complete\"");
	struct json_edit edit;

	if (has_type || json_type(result) != JSON_OBJECT)
		return buf_append_span(out, result);
	edit = json_edit_prepend(result, members);
	return json_splice(result, &edit, 1, out);
}

unsigned modern_status(int code)
{
	return (unsigned)err_http_status(code);
}
