/*
 * The supervision policy against SUPERVISION.md, statement by statement: each row is a script (see
 * policy_world.h) and the trace it must leave. [O] marks traces seen from OTP's own supervisor.
 */
#include "policy_world.h"

#include <check.h>
#include <string.h>

struct trace_row {
	const char *name;
	const char *script;
	const char *trace;
};

#define ABC(strategy, restart) \
	"sup root - " strategy " 3 5 never;child a root " restart " 1000 0;" \
	"child b root " restart " 1000 0;child c root " restart " 1000 0;"

static const struct trace_row rows[] = {
	/* B: start */
	{"B1 one after another", ABC("one", "permanent") "plan b hang;start;ready b",
		"start a, begin b, start b, start c, ready"},
	{"B1 sub-supervisors in place",
		"sup root - one 1 5 never;child a root - - 0;sup s root one 1 5 never;child b s - "
		"- 0;"
		"child c root - - 0;start",
		"start a, start b, start c, ready"},
	{"B2 no children", "sup root - one 1 5 never;start", "ready"},
	{"B3 a child fails at the start [O]", ABC("one", "permanent") "plan c fail;start",
		"start a, start b, fail c, stop b, stop a, gave_up"},
	{"B3 nothing after it is created", ABC("one", "permanent") "plan b fail;start",
		"start a, fail b, stop a, gave_up"},
	{"B3 with each child's own rule",
		"sup root - one 3 5 never;child a root - brutal 0;child b root - 100 0;onstop b "
		"hang;"
		"child c root - - 0;plan c fail;start;advance 99;advance 1",
		"start a, start b, fail c, signal b, kill b, kill a, gave_up"},
	{"B3 in a sub-supervisor: its starter fails too",
		"sup root - one 3 5 never;child a root - - 0;sup s root one 3 5 never;child b s - "
		"- 0;"
		"child c s - - 0;plan c fail;reports;start",
		"start a, start b, fail c, report start_error c (exit code 3), stop b, "
		"report start_error s (shutdown: failed_to_start_child c: exit code 3), stop a, "
		"gave_up"},
	{"B4 ignore, permanent: kept",
		ABC("one", "permanent") "plan b ignore;start;which root;count root",
		"start a, ignore b, start c, ready, which c=running b=undefined a=running, count 3 "
		"2 0 3"},
	{"B4 ignore, temporary: dropped",
		ABC("one", "temporary") "plan b ignore;start;which root;count root",
		"start a, ignore b, start c, ready, which c=running a=running, count 2 2 0 2"},

	/* C: exits */
	{"C1 permanent: restarted after all",
		"sup root - one 9 5 never;child a root permanent - 0;start;exit a normal;exit a "
		"shutdown;"
		"exit a reason;exit a abnormal;exit a killed",
		"start a, ready, start a, start a, start a, start a, start a"},
	{"C2 transient: clean exits [O]",
		"sup root - one 9 5 never;child a root transient - 0;start;exit a normal;which "
		"root;"
		"count root;restart root a;exit a shutdown;restart root a;exit a reason;count root",
		"start a, ready, which a=undefined, count 1 0 0 1, start a, reply ok, start a, "
		"reply ok, "
		"count 1 0 0 1"},
	{"C2 transient: abnormal exits",
		"sup root - one 9 5 never;child a root transient - 0;start;exit a abnormal;exit a "
		"killed",
		"start a, ready, start a, start a"},
	{"C3 temporary: never",
		"sup root - one 0 5 never;child a root temporary - 0;start;exit a abnormal;count "
		"root;"
		"add root a;exit a normal;add root a;exit a killed;count root",
		"start a, ready, count 0 0 0 0, start a, reply ok, start a, reply ok, count 0 0 0 "
		"0"},
	{"C4 exit 0 of a permanent child counts [O]",
		"sup root - one 0 5 never;child a root permanent - 0;start;exit a normal",
		"start a, ready, gave_up"},
	{"C6 records",
		"sup root - one 9 5 never;child a root permanent - 0;child b root transient - 0;"
		"child c root temporary - 0;start;reports;exit a normal;exit b normal;exit b "
		"abnormal;"
		"exit c signal:11",
		"start a, start b, start c, ready, report child_terminated a (normal), start a, "
		"not running, "
		"report child_terminated c (signal 11), report child_dropped c (signal 11)"},

	/* D: strategies */
	{"D1 one_for_one", ABC("one", "permanent") "start;mark;exit b abnormal;same a b c",
		"start a, start b, start c, ready, start b, same a, other b, same c"},
	{"D2 one_for_all [O]",
		"sup root - all 3 5 never;child a root - - 0;child b root transient - 0;child d "
		"root - - 0;"
		"start;exit b normal;exit a abnormal",
		"start a, start b, start d, ready, stop d, start a, start b, start d"},
	{"D2 reverse order, then start order", ABC("all", "permanent") "start;exit b abnormal",
		"start a, start b, start c, ready, stop c, stop a, start a, start b, start c"},
	{"D3 rest_for_one [O]", ABC("rest", "permanent") "start;mark;exit b abnormal;same a b c",
		"start a, start b, start c, ready, stop c, start b, start c, same a, other b, "
		"other c"},
	{"D3 the last", ABC("rest", "permanent") "start;exit c abnormal",
		"start a, start b, start c, ready, start c"},
	{"D4 temporary siblings vanish [O]",
		"sup root - all 3 5 never;child a root - - 0;child t root temporary - 0;child c "
		"root - - 0;"
		"start;exit a abnormal;which root",
		"start a, start t, start c, ready, stop c, stop t, start a, start c, "
		"which c=running a=running"},
	{"D5 what was stopped by hand is started [O]",
		ABC("all", "permanent") "start;terminate root b;exit c abnormal",
		"start a, start b, start c, ready, stop b, reply ok, stop a, start a, start b, "
		"start c"},
	{"D5 what had finished is started [O]",
		"sup root - rest 3 5 never;child a root - - 0;child b root transient - "
		"0;start;exit b normal;"
		"exit a abnormal",
		"start a, start b, ready, start a, start b"},
	{"D5 what was ignored is started",
		ABC("all", "permanent") "plan c ignore;start;exit a killed",
		"start a, start b, ignore c, ready, stop b, start a, start b, start c"},
	{"D6 a clean transient exit touches nobody [O]",
		ABC("all", "transient") "start;exit b normal;exit c shutdown;which root",
		"start a, start b, start c, ready, which c=undefined b=undefined a=running"},
	{"D6 a temporary exit touches nobody [O]",
		"sup root - rest 0 5 never;child t root temporary - 0;child b root - - "
		"0;start;exit t killed",
		"start t, start b, ready"},
	{"D7 a group restart costs 1",
		ABC("all",
			"permanent") "start;exit a killed;exit a killed;exit a killed;which root;"
				     "exit a killed",
		"start a, start b, start c, ready, stop c, stop b, start a, start b, start c, stop "
		"c, stop b, "
		"start a, start b, start c, stop c, stop b, start a, start b, start c, "
		"which c=running b=running a=running, stop c, stop b, gave_up"},
	{"D8 intensity before siblings",
		"sup root - all 0 5 never;child a root - - 0;child b root - - 0;start;exit a "
		"killed",
		"start a, start b, ready, stop b, gave_up"},
	{"D9 nothing from before is left",
		ABC("all", "permanent") "start;mark;exit a killed;same a b c",
		"start a, start b, start c, ready, stop c, stop b, start a, start b, start c, "
		"other a, other b, other c"},

	/* E: restarts that fail */
	{"E1 tried again at once", ABC("one", "permanent") "start;plan b fail fail;exit b abnormal",
		"start a, start b, start c, ready, fail b, fail b, start b"},
	{"E2 each attempt counts [O]",
		"sup root - one 4 5 never;child a root - - 0;start;plan a fail*;exit a abnormal",
		"start a, ready, fail a, fail a, fail a, fail a, gave_up"},
	{"E3 one_for_all, a sibling fails [O]",
		ABC("all", "permanent") "start;plan b fail*;exit a abnormal",
		"start a, start b, start c, ready, stop c, stop b, start a, fail b, stop a, start "
		"a, fail b, "
		"stop a, start a, fail b, stop a, gave_up"},
	{"E3 as the page has it: a stays up until the retry [O]",
		ABC("all", "permanent") "start;plan b fail*;exit b abnormal",
		"start a, start b, start c, ready, stop c, stop a, start a, fail b, stop a, start "
		"a, fail b, "
		"stop a, start a, fail b, stop a, gave_up"},
	{"E4 rest_for_one, anchored at b [O]",
		ABC("rest", "permanent") "start;plan b fail*;exit a abnormal",
		"start a, start b, start c, ready, stop c, stop b, start a, fail b, fail b, fail "
		"b, stop a, "
		"gave_up"},
	{"E5 while restarting",
		"sup root - one 3 5 never;child b root - - 0 backoff=1000-1000;start;plan b fail;"
		"exit b abnormal;which root;count root;add root b;restart root b;delete root b",
		"start b, ready, fail b, which b=restarting, count 1 0 0 1, reply already_present, "
		"reply restarting, reply restarting"},
	{"E6 terminate_child cancels the retry [O]",
		"sup root - one 3 5 never;child b root - - 0 backoff=1000-1000;start;plan b fail;"
		"exit b abnormal;terminate root b;which root;advance 5000",
		"start b, ready, fail b, reply ok, which b=undefined"},
	{"E7 a restart loop obeys its parent",
		"sup root - one 3 5 never;sup s root one 9 5 never;child a s - - 0;start;plan a "
		"hang*;"
		"exit a abnormal;stop",
		"start a, ready, begin a, stop a, stopped"},
	{"E7 during a back-off",
		"sup root - one 9 5 never;child a root - - 0 backoff=1000-1000;start;plan a fail;"
		"exit a abnormal;stop;advance 2000",
		"start a, ready, fail a, stopped"},
	{"E8 a restart that is ignored",
		ABC("one", "permanent") "start;plan b ignore;exit b killed;which root",
		"start a, start b, start c, ready, ignore b, which c=running b=undefined "
		"a=running"},
	{"E8 simple_one_for_one: dropped",
		"sup root - simple 3 5 never;child t root - - 0;start;dyn root x;plan x "
		"ignore;exit x killed;"
		"count root",
		"ready, start x, reply ok, ignore x, count 1 0 0 0"},

	/* F: the window */
	{"F1 the third within the period [O]",
		"sup root - one 2 5 never;child a root - - 0;start;exit a killed;exit a "
		"killed;exit a killed",
		"start a, ready, start a, start a, gave_up"},
	{"F2 shared by all children [O]",
		ABC("one", "permanent") "start;exit a killed;exit b killed;exit c killed;exit a "
					"killed",
		"start a, start b, start c, ready, start a, start b, start c, stop c, stop b, "
		"gave_up"},
	{"F3 a gap of the period counts",
		"sup root - one 1 2 never;child a root - - 0;start;exit a killed;advance 2000;exit "
		"a killed",
		"start a, ready, start a, gave_up"},
	{"F3 a gap of the period and 1 s does not",
		"sup root - one 1 2 never;child a root - - 0;start;exit a killed;advance 3000;exit "
		"a killed",
		"start a, ready, start a, start a"},
	{"F5 by hand never counts [O]",
		"sup root - one 0 5 never;child a root - - 0;start;terminate root a;restart root a;"
		"terminate root a;restart root a;terminate root a;restart root a",
		"start a, ready, stop a, reply ok, start a, reply ok, stop a, reply ok, start a, "
		"reply ok, "
		"stop a, reply ok, start a, reply ok"},
	{"F6 a restarted supervisor starts empty",
		"sup root - one 9 5 never;sup s root one 1 5 never;child a s - - 0;start;exit a "
		"killed;"
		"exit a killed;exit a killed;which s",
		"start a, ready, start a, start a, start a, which a=running"},
	{"F6 other flags keep the recorded restarts",
		"sup root - one 5 5 never;child a root - - 0;sup new + one 1 5 never;child x new - "
		"- 0;start;"
		"exit a killed;change root new;exit a killed",
		"start a, ready, start a, reply ok, gave_up"},
	{"F7 slow deaths are survived",
		"sup root - one 1 1 never;child a root - - 0;start;exit a killed;advance 2100;exit "
		"a killed;"
		"advance 2100;exit a killed;advance 2100;exit a killed",
		"start a, ready, start a, start a, start a, start a"},

	/* G: escalation */
	{"G1 giving up stops the rest backwards",
		"sup root - one 0 5 never;child a root - - 0;child b root - - 0;child c root - - "
		"0;start;"
		"exit b killed",
		"start a, start b, start c, ready, stop c, stop a, gave_up"},
	{"G2 permanent: restarted [O]",
		"sup root - one 1 5 never;sup s root one 0 5 never permanent - 0;child a s - - "
		"0;start;"
		"exit a killed;exit a killed",
		"start a, ready, start a, gave_up"},
	{"G2 transient: not restarted [O]",
		"sup root - one 1 5 never;sup s root one 0 5 never transient - 0;child a s - - "
		"0;start;"
		"exit a killed;which root",
		"start a, ready, which s=undefined"},
	{"G2 temporary: removed [O]",
		"sup root - one 1 5 never;sup s root one 0 5 never temporary - 0;child a s - - "
		"0;start;"
		"reports;exit a killed;which root",
		"start a, ready, report child_terminated a (signal 9), "
		"report shutdown a (reached_max_restart_intensity), report child_dropped s "
		"(shutdown), which"},
	{"G3 only static children come back",
		"sup root - one 3 5 never;sup s root one 0 5 never;child a s - - 0;child x + - - "
		"0;start;"
		"add s x;exit a killed;which s",
		"start a, ready, start x, reply ok, stop x, start a, which a=running"},
	{"G4 product along the path [O: 4]",
		"sup root - one 1 5 never;sup s root one 1 5 never;child a s - - 0;start;exit a "
		"killed;"
		"exit a killed;exit a killed;exit a killed",
		"start a, ready, start a, start a, start a, gave_up"},
	{"G5 a killed supervisor takes its children along",
		"sup root - one 3 5 never;sup s root one 3 5 never permanent brutal 0;child a s - "
		"- 0;"
		"child b s - - 0;sup u s one 3 5 never;child c u - - 0;start;terminate root "
		"s;restart root s",
		"start a, start b, start c, ready, kill a, kill b, kill c, reply ok, start a, "
		"start b, start c, "
		"reply ok"},
	{"G5 killed after its time",
		"sup root - one 3 5 never;sup s root one 3 5 never permanent 100 0;child a s - "
		"infinity 0;"
		"child b s - infinity 0;onstop b hang;start;stop;advance 100",
		"start a, start b, ready, signal b, kill a, kill b, stopped"},

	/* H: stop */
	{"H1 exact reverse order [O]",
		"sup root - one 3 5 never;child a root - - 0;child z root - - 0;child m root - - 0;"
		"child x + - - 0;start;add root x;stop",
		"start a, start z, start m, ready, start x, reply ok, stop x, stop m, stop z, stop "
		"a, stopped"},
	{"H1 the next only when the previous is gone",
		ABC("one", "permanent") "onstop b after:300;start;stop;advance 299;advance 1",
		"start a, start b, start c, ready, stop c, signal b, stop b, stop a, stopped"},
	{"H2 wait, then kill; the sum [O]",
		"sup root - one 3 5 never;child a root - 200 0;child b root - 1000 0;onstop a hang;"
		"onstop b after:100;start;reports;stop;advance 299;advance 1",
		"start a, start b, ready, signal b, stop b, signal a, kill a, "
		"report shutdown_error a (killed), stopped"},
	{"H3 0: signal and kill; brutal: kill only [O]",
		"sup root - one 3 5 never;child a root - 0 0;child b root - brutal 0;onstop a "
		"hang;start;"
		"reports;stop",
		"start a, start b, ready, kill b, signal a, kill a, report shutdown_error a "
		"(killed), stopped"},
	{"H4 infinity waits",
		"sup root - one 3 5 never;child a root - infinity 0;onstop a hang;start;stop;"
		"advance 1000000000;gone a",
		"start a, ready, signal a, stop a, stopped"},
	{"H5 what is logged",
		"sup root - one 3 5 never;child a root permanent - 0;child b root transient - 0;"
		"child c root permanent - 0;child d root temporary - 0;child e root - - 0;onstop a "
		"reason;"
		"onstop b reason;onstop c abnormal;onstop d normal;onstop e "
		"normal;start;reports;stop",
		"start a, start b, start c, start d, start e, ready, stop e, stop d, stop c, "
		"report shutdown_error c (exit code 1), stop b, stop a, "
		"report shutdown_error a (shutdown: why), stopped"},
	{"H6 who dies by itself during a stop",
		ABC("one", "permanent") "onstop c hang;start;stop;exit a abnormal;gone c",
		"start a, start b, start c, ready, signal c, stop c, stop b, stopped"},
	{"H8 a stop amid a group restart",
		ABC("all", "permanent") "onstop b hang;start;exit c killed;stop;gone b",
		"start a, start b, start c, ready, signal b, stop b, stop a, stopped"},
	{"H8 a stop amid the first start", ABC("one", "permanent") "plan b hang;start;stop",
		"start a, begin b, stop b, stop a, stopped"},

	/* I: auto_shutdown */
	{"I1 any: a clean transient exit [O]",
		"sup root - one 3 5 any;child a root - - 0;child b root transient - 1;child c root "
		"- - 0;start;"
		"exit b abnormal;exit b normal",
		"start a, start b, start c, ready, start b, stop c, stop a, gave_up"},
	{"I1 any: a temporary exit of any kind [O]",
		"sup root - one 3 5 any;child a root - - 0;child b root temporary - 1;start;exit b "
		"killed",
		"start a, start b, ready, stop a, gave_up"},
	{"I2 all: the last active one",
		"sup root - one 3 5 all;child a root transient - 1;child b root temporary - "
		"1;child c root - - 0;"
		"start;exit a shutdown;which root;exit b killed",
		"start a, start b, start c, ready, which c=running b=running a=undefined, stop c, "
		"gave_up"},
	{"I3 not by terminate_child",
		"sup root - one 3 5 any;child a root transient - 1;start;terminate root a;which "
		"root",
		"start a, ready, stop a, reply ok, which a=undefined"},
	{"I3 not because of a sibling",
		"sup root - all 3 5 any;child a root transient - 1;child b root - - 0;start;exit b "
		"killed",
		"start a, start b, ready, stop a, start a, start b"},
	{"I4 others never",
		"sup root - one 3 5 any;child a root transient - 0;start;exit a normal;which root",
		"start a, ready, which a=undefined"},
	{"I5 a chain",
		"sup root - one 3 5 any;child z root - - 0;sup b root one 3 5 any transient - 1;"
		"child a b transient - 1;start;exit a normal",
		"start z, start a, ready, stop z, gave_up"},
	{"I5 no chain from one that is not significant",
		"sup root - one 3 5 any;child z root - - 0;sup b root one 3 5 any transient - 0;"
		"child a b transient - 1;start;exit a normal;which root",
		"start z, start a, ready, which b=undefined z=running"},

	/* J: requests */
	{"J1 start_child",
		ABC("one", "permanent") "child x + - - 0;start;add root x;add root x;"
					"terminate root x;add root x;which root",
		"start a, start b, start c, ready, start x, reply ok, reply already_started, stop "
		"x, reply ok, "
		"reply already_present, which x=undefined c=running b=running a=running"},
	{"J1 a start that fails is forgotten",
		"sup root - one 3 5 never;child x + - - 0;start;plan x fail;add root x;which "
		"root;add root x",
		"ready, fail x, reply start_error, which, start x, reply ok"},
	{"J2 appended at the end",
		ABC("all", "permanent") "child x + - - 0;start;add root x;exit b killed",
		"start a, start b, start c, ready, start x, reply ok, stop x, stop c, stop a, "
		"start a, start b, "
		"start c, start x"},
	{"J3 terminate_child",
		"sup root - one 3 5 never;child a root - - 0;child t root temporary - 0;start;"
		"terminate root a;terminate root a;terminate root q;terminate root t;terminate "
		"root t;which root",
		"start a, start t, ready, stop a, reply ok, reply ok, reply not_found, stop t, "
		"reply ok, "
		"reply not_found, which a=undefined"},
	{"J3 blocks until it is gone",
		ABC("one", "permanent") "onstop a hang;start;terminate root a;which root;gone a",
		"start a, start b, start c, ready, signal a, which c=running b=running a=stopping, "
		"stop a, "
		"reply ok"},
	{"J4 touches nobody [O]",
		"sup root - all 0 5 any;child a root transient - 1;child b root - - "
		"0;start;terminate root a;"
		"terminate root b;which root",
		"start a, start b, ready, stop a, reply ok, stop b, reply ok, which b=undefined "
		"a=undefined"},
	{"J5 restart_child",
		ABC("one", "permanent") "start;restart root a;restart root q;terminate root a;plan "
					"a fail;"
					"restart root a;which root;restart root a",
		"start a, start b, start c, ready, reply running, reply not_found, stop a, reply "
		"ok, fail a, "
		"reply start_error, which c=running b=running a=undefined, start a, reply ok"},
	{"J6 delete_child",
		ABC("one", "permanent") "start;delete root a;delete root q;terminate root a;delete "
					"root a;"
					"restart root a;which root",
		"start a, start b, start c, ready, reply running, reply not_found, stop a, reply "
		"ok, reply ok, "
		"reply not_found, which c=running b=running"},
	{"J7, J8 rows and counts",
		"sup root - one 3 5 never;child a root - - 0;sup s root one 3 5 never;child b root "
		"- - 0;start;"
		"terminate root s;which root;count root",
		"start a, start b, ready, reply ok, which b=running s=undefined a=running, count 3 "
		"2 1 2"},
	{"J10 no addressing by instance", ABC("one", "permanent") "start;mark;terminate_dyn root a",
		"start a, start b, start c, ready, reply not_found"},
	{"J11 one at a time, in order",
		ABC("one", "permanent") "onstop a hang;child x + - - 0;start;terminate root a;add "
					"root x;"
					"restart root a;which root;gone a",
		"start a, start b, start c, ready, signal a, which c=running b=running a=stopping, "
		"stop a, "
		"reply ok, start x, reply ok, start a, reply ok"},
	{"J12 a supervisor that is not there",
		"sup root - one 3 5 never;sup s root one 3 5 never transient - 0;child a s - - "
		"0;start;"
		"terminate root s;terminate s a;which s;stop;terminate root s",
		"start a, ready, stop a, reply ok, reply noproc, reply noproc, stopped, reply "
		"noproc"},
	{"J12 one that ends with requests waiting",
		ABC("one", "permanent") "onstop a hang;start;terminate root a;restart root "
					"b;stop;gone a",
		"start a, start b, start c, ready, signal a, stop a, stop c, stop b, reply noproc, "
		"reply noproc, "
		"stopped"},

	/* K: simple_one_for_one */
	{"K1 nothing at first",
		"sup root - simple 3 5 never;child t root - - 0;start;count root;which root",
		"ready, count 1 0 0 0, which"},
	{"K2 a start that fails is not stored",
		"sup root - simple 3 5 never;child t root - - 0;start;plan x fail;dyn root x;dyn "
		"root y;count root",
		"ready, fail x, reply start_error, start y, reply ok, count 1 1 0 1"},
	{"K3 requests by id are refused",
		"sup root - simple 3 5 never;child t root - - 0;start;restart root t;delete root t;"
		"terminate root t",
		"ready, reply simple_one_for_one, reply simple_one_for_one, reply "
		"simple_one_for_one"},
	{"K3 by instance",
		"sup root - one 3 5 never;child a root - - 0;sup s root simple 3 5 never;"
		"child t s temporary - 0;start;dyn s x;mark;terminate_dyn s x;terminate_dyn s x;"
		"terminate_dyn s a;terminate_dyn s 99999;which root",
		"start a, ready, start x, reply ok, stop x, reply ok, reply ok, reply not_found, "
		"reply not_found, "
		"which s=running a=running"},
	{"K4 restarted with its own args",
		"sup root - simple 3 5 never;child t root - - 0;start;dyn root x;dyn root y;exit x "
		"killed;"
		"exit y normal",
		"ready, start x, reply ok, start y, reply ok, start x, start y"},
	{"K5 all signalled at once, one timer",
		"sup root - simple 3 5 never;child t root - 1000 0;onstop x after:300;onstop y "
		"after:300;"
		"onstop z hang;start;dyn root x;dyn root y;dyn root z;stop;advance 300;advance "
		"699;advance 1",
		"ready, start x, reply ok, start y, reply ok, start z, reply ok, signal x, signal "
		"y, signal z, "
		"stop x, stop y, kill z, stopped"},
	{"K5 brutal",
		"sup root - simple 3 5 never;child t root - brutal 0;start;dyn root x;dyn root "
		"y;stop",
		"ready, start x, reply ok, start y, reply ok, kill x, kill y, stopped"},
	{"K6 counts while restarting",
		"sup root - simple 9 5 never;child t root - - 0 backoff=1000-1000;start;dyn root "
		"x;dyn root y;"
		"plan x fail;exit x killed;count root;mark;which root;advance 1000;count root",
		"ready, start x, reply ok, start y, reply ok, fail x, count 1 1 0 2, which "
		"=running =restarting, "
		"start x, count 1 2 0 2"},
	{"K7 shared window",
		"sup root - simple 1 5 never;child t root - - 0;start;dyn root x;dyn root y;exit x "
		"killed;"
		"exit y killed",
		"ready, start x, reply ok, start y, reply ok, start x, stop x, gave_up"},

	/* L: other specs while running */
	{"L2 same id: kept",
		ABC("one", "permanent") "sup n + one 3 5 never;child q n - - 0;start;mark;"
					"change root n;same a b c;which root",
		"start a, start b, start c, ready, reply ok, same a, same b, same c, "
		"which c=running b=running a=running q=undefined"},
	{"L3 new ids are not started, removed ids run on",
		ABC("all", "permanent") "sup n + all 3 5 never;child q n - - 0;start;change root n;"
					"exit b killed",
		"start a, start b, start c, ready, reply ok, stop c, stop a, start q, start a, "
		"start b, start c"},
	{"L3 the next incarnation has the new specs only",
		"sup root - one 3 5 never;sup s root one 0 5 never;child a s - - 0;sup n + one 0 5 "
		"never;"
		"child q n - - 0;start;change s n;which s;exit a killed;which s",
		"start a, ready, reply ok, which a=running q=undefined, start q, which q=running"},
	{"L4 simple_one_for_one: the strategy stays",
		ABC("one",
			"permanent") "sup n + simple 3 5 never;child q n - - 0;start;change root n",
		"start a, start b, start c, ready, reply invalid"},

	/* Q: our own */
	{"Q1 start timeout",
		"sup root - one 3 5 never;child a root - - 0 timeout=200;reports;plan a "
		"hang;start;advance 199;"
		"advance 1",
		"begin a, kill a, report start_error a (start_timeout), gave_up"},
	{"Q1 the default is 10 s",
		"sup root - one 3 5 never;child a root - - 0;plan a hang;start;advance "
		"9999;advance 1",
		"begin a, kill a, gave_up"},
	{"Q1 on restart: tried again",
		"sup root - one 3 5 never;child a root - - 0;start;plan a hang;exit a "
		"killed;advance 10000",
		"start a, ready, begin a, kill a, start a"},
	{"Q2 back-off doubles up to its maximum",
		"sup root - one 9 600 never;child a root - - 0 backoff=100-300;start;plan a fail "
		"fail fail fail;"
		"exit a killed;advance 99;advance 1;advance 199;advance 1;advance 299;advance "
		"1;advance 300",
		"start a, ready, fail a, fail a, fail a, fail a, start a"},
	{"Q2 does not block other requests",
		"sup root - one 9 5 never;child a root - - 0 backoff=1000-1000;child b root - - "
		"0;start;"
		"plan a fail;exit a killed;terminate root b;restart root b;advance 1000",
		"start a, start b, ready, fail a, stop b, reply ok, start b, reply ok, start a"},
	{"overlapping starts: a slow one holds up nobody",
		"sup root - one 3 5 never - - 0 overlap;child x + temporary - 0;child y + "
		"temporary - 0;"
		"plan x hang;start;add root x;add root y;ready x;which root",
		"ready, begin x, start y, reply ok, start x, reply ok, which y=running x=running"},
	{"overlapping starts: a failed one is forgotten",
		"sup root - one 3 5 never - - 0 overlap;child x + temporary - 0;plan x "
		"fail;start;add root x;"
		"which root",
		"ready, fail x, reply start_error, which"},
	{"overlapping starts: stopped amid it",
		"sup root - one 3 5 never - - 0 overlap;child x + temporary - 0;plan x "
		"hang;start;add root x;stop",
		"ready, begin x, stop x, reply noproc, stopped"},
	{"one supervisor per server: its end costs no other",
		"sup root - one 5 60 never;sup ups root one 0 5 never;child k ups - - 0;"
		"sup f + one 2 10 never temporary - 0;child w f - - 0;start;add ups f;exit w "
		"killed;"
		"exit w killed;exit w killed;which ups;add ups f;which ups/f",
		"start k, ready, start w, reply ok, start w, start w, which k=running, start w, "
		"reply ok, "
		"which w=running"},
};

static void check_trace(const struct trace_row *row, bool exchange_trees)
{
	struct world *world = world_new();
	struct err err = {0};
	const char *trace;
	int rc;

	if (exchange_trees)
		world_exchange_trees(world);
	rc = world_run(world, row->script, &err);
	trace = world_take_trace(world);
	ck_assert_msg(rc == 0, "%s: %s", row->name, err_text(&err));
	ck_assert_msg(strcmp(trace, row->trace) == 0, "%s\n got: %s\nwant: %s", row->name, trace,
		row->trace);
	world_free(world);
}

START_TEST(test_trace)
{
	check_trace(&rows[_i], false);
}
END_TEST

/* Q11: the same when another tree goes on with what was saved of the first, after each statement. */
START_TEST(test_trace_exchanging)
{
	check_trace(&rows[_i], true);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("policy");
	TCase *traces = tcase_create("traces");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_loop_test(traces, test_trace, 0, sizeof(rows) / sizeof(rows[0]));
	tcase_add_loop_test(traces, test_trace_exchanging, 0, sizeof(rows) / sizeof(rows[0]));
	suite_add_tcase(suite, traces);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
