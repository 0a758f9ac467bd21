/* What a supervisor is asked to do (J, K): the queue, and the serving of one request. */
#include "policy_private.h"

#include <stdlib.h>
#include <string.h>

/* Putting requests into the queue. */

static int request_find_sup(struct tree *tree, uint64_t now, uint64_t supervisor,
	struct sup **ret_node, struct err *err)
{
	struct sup *sup;

	tree_set_now(tree, now);
	sup = sup_find(tree, supervisor);
	if (!sup || sup_is_ending(sup))
		return err_set(
			err, ERR_NOT_FOUND, "no supervisor %llu", (unsigned long long)supervisor);
	if (sup->n_requests >= TREE_REQUESTS_MAX)
		return err_set(err, ERR_TOO_MANY, "supervisor %llu has %u requests waiting",
			(unsigned long long)supervisor, TREE_REQUESTS_MAX);
	*ret_node = sup;
	return 0;
}

static struct request *request_new(
	enum request_kind kind, uint64_t number, const char *id, struct err *err)
{
	size_t len = id ? strlen(id) : 0;
	struct request *request = calloc(1, sizeof(*request) + len + 1);

	if (!request) {
		err_set(err, ERR_NO_MEMORY, "request");
		return NULL;
	}
	request->message.kind = MESSAGE_REQUEST;
	request->kind = kind;
	request->number = number;
	if (id)
		memcpy(request->id, id, len);
	return request;
}

static int request_push(struct tree *tree, uint64_t now, uint64_t supervisor,
	enum request_kind kind, uint64_t number, const char *id, uint64_t instance, struct err *err)
{
	struct sup *sup;
	struct request *request;
	int rc = request_find_sup(tree, now, supervisor, &sup, err);

	if (rc < 0)
		return rc;
	if (id && strlen(id) > SPEC_ID_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT, "id longer than %u", SPEC_ID_MAX);
	request = request_new(kind, number, id, err);
	if (!request)
		return -ERR_NO_MEMORY;
	request->instance = instance;
	sup_mail_push(sup, &request->message);
	return 0;
}

int tree_terminate_child(struct tree *tree, uint64_t now, uint64_t supervisor, uint64_t request,
	const char *id, struct err *err)
{
	return request_push(tree, now, supervisor, REQUEST_TERMINATE_CHILD, request, id, 0, err);
}

int tree_terminate_instance(struct tree *tree, uint64_t now, uint64_t supervisor, uint64_t request,
	uint64_t instance, struct err *err)
{
	return request_push(
		tree, now, supervisor, REQUEST_TERMINATE_INSTANCE, request, NULL, instance, err);
}

int tree_restart_child(struct tree *tree, uint64_t now, uint64_t supervisor, uint64_t request,
	const char *id, struct err *err)
{
	return request_push(tree, now, supervisor, REQUEST_RESTART_CHILD, request, id, 0, err);
}

int tree_delete_child(struct tree *tree, uint64_t now, uint64_t supervisor, uint64_t request,
	const char *id, struct err *err)
{
	return request_push(tree, now, supervisor, REQUEST_DELETE_CHILD, request, id, 0, err);
}

int tree_start_child(struct tree *tree, uint64_t now, uint64_t supervisor, uint64_t number,
	const struct child_spec *spec, struct err *err)
{
	struct sup *sup;
	struct request *request;
	enum spec_verdict verdict;
	int rc = request_find_sup(tree, now, supervisor, &sup, err);

	if (rc < 0)
		return rc;
	if (sup_is_simple(sup))
		return err_set(err, ERR_INVALID_ARGUMENT, "simple_one_for_one takes no child spec");
	verdict = spec_check_child(spec, sup->flags.auto_shutdown, err);
	if (verdict != SPEC_OK)
		return verdict == SPEC_NO_MEMORY ? -ERR_NO_MEMORY : -ERR_INVALID_ARGUMENT;
	request = request_new(REQUEST_START_CHILD, number, NULL, err);
	if (!request)
		return -ERR_NO_MEMORY;
	request->spec = spec_copy(spec, tree->owner);
	if (!request->spec) {
		sup_request_free(tree, request);
		return err_set(err, ERR_NO_MEMORY, "child spec '%s'", spec->id);
	}
	sup_mail_push(sup, &request->message);
	return 0;
}

int tree_start_dynamic(struct tree *tree, uint64_t now, uint64_t supervisor, uint64_t number,
	void *args, struct err *err)
{
	struct sup *sup;
	struct request *request;
	int rc = request_find_sup(tree, now, supervisor, &sup, err);

	if (rc < 0)
		return rc;
	if (!sup_is_simple(sup))
		return err_set(err, ERR_INVALID_ARGUMENT, "not a simple_one_for_one supervisor");
	request = request_new(REQUEST_START_DYNAMIC, number, NULL, err);
	if (!request)
		return -ERR_NO_MEMORY;
	request->args = calloc(1, sizeof(*request->args));
	if (!request->args) {
		sup_request_free(tree, request);
		return err_set(err, ERR_NO_MEMORY, "request");
	}
	*request->args = (struct args){.refs = 1, .cookie = args};
	sup_mail_push(sup, &request->message);
	return 0;
}

int tree_change(struct tree *tree, uint64_t now, uint64_t supervisor, uint64_t number,
	const struct supervisor_spec *spec, struct err *err)
{
	struct sup *sup;
	struct request *request;
	enum spec_verdict verdict;
	int rc = request_find_sup(tree, now, supervisor, &sup, err);

	if (rc < 0)
		return rc;
	verdict = spec_check_supervisor(spec, err);
	if (verdict != SPEC_OK)
		return verdict == SPEC_NO_MEMORY ? -ERR_NO_MEMORY : -ERR_INVALID_ARGUMENT;
	request = request_new(REQUEST_CHANGE, number, NULL, err);
	if (!request)
		return -ERR_NO_MEMORY;
	request->group = spec_group_copy(spec, tree->owner);
	if (!request->group) {
		sup_request_free(tree, request);
		return err_set(err, ERR_NO_MEMORY, "supervisor spec");
	}
	sup_mail_push(sup, &request->message);
	return 0;
}

/* Serving. A request that takes time becomes the supervisor's operation; the others are answered here. */

static void request_answer(struct sup *sup, const struct request *request,
	enum request_result result, const char *reason)
{
	tree_reply(sup, request->number, result, NULL, reason);
}

static void sup_op_asked(
	struct sup *sup, enum op_kind kind, struct child *child, const struct request *request)
{
	sup->op = (struct op){
		.kind = kind, .cursor = child, .asked = true, .request = request->number};
}

/* The new child and its start; spec and args pass from the request to the child. */
static void serve_new_child(struct sup *sup, struct request *request, struct spec *spec)
{
	struct child *child;
	int rc = sup_child_new(sup, spec, request->args, &child);

	if (rc < 0) {
		spec_unref(spec);
		request_answer(sup, request, RESULT_START_ERROR, err_reason(rc));
		return;
	}
	request->args = NULL;
	if (sup->flags.overlap_starts && sup_child_is_temporary(child)) {
		sup_child_start_overlapped(sup, child, request->number);
		return;
	}
	sup_op_asked(sup, OP_ASKED_START, child, request);
	sup_child_start(sup, child);
}

static void serve_start_child(struct sup *sup, struct request *request)
{
	struct spec *spec = request->spec;
	struct child *child = sup_find_child(sup, spec->id);

	if (child && (sup_child_is_alive(child) || child->state == CHILD_DEAD)) {
		tree_reply(sup, request->number, RESULT_ALREADY_STARTED, child, NULL);
	} else if (child) {
		request_answer(sup, request, RESULT_ALREADY_PRESENT, NULL);
	} else if (spec->data.significant && sup->flags.auto_shutdown == AUTO_SHUTDOWN_NEVER) {
		/* A9: the flags were changed while the request waited. */
		request_answer(
			sup, request, RESULT_INVALID, spec_verdict_name(SPEC_BAD_COMBINATION));
	} else {
		request->spec = NULL;
		serve_new_child(sup, request, spec);
	}
}

static void serve_start_dynamic(struct sup *sup, struct request *request)
{
	serve_new_child(sup, request, spec_ref(sup->template));
}

static void sup_stop_asked(struct sup *sup, struct child *child, struct request *request)
{
	sup_op_asked(sup, OP_ASKED_STOP, child, request);
	if (sup_child_stop(child))
		sup->op.waiting = child;
	else
		sup_wake(sup);
}

static void serve_terminate_child(struct sup *sup, struct request *request)
{
	struct child *child;

	if (sup_is_simple(sup)) {
		request_answer(sup, request, RESULT_SIMPLE_ONE_FOR_ONE, NULL);
		return;
	}
	child = sup_find_child(sup, request->id);
	if (child)
		sup_stop_asked(sup, child, request);
	else
		request_answer(sup, request, RESULT_NOT_FOUND, NULL);
}

static void serve_terminate_instance(struct sup *sup, struct request *request)
{
	struct tree *tree = sup->tree;
	struct child *child = tree_map_find(tree, request->instance);

	if (sup_is_simple(sup) && child && child->sup == sup) {
		sup_stop_asked(sup, child, request);
		return;
	}
	/* K3: one that was, and is no more, is no error. */
	if (sup_is_simple(sup) && !child && request->instance > TREE_ROOT &&
		request->instance <= tree->last_instance)
		request_answer(sup, request, RESULT_OK, NULL);
	else
		request_answer(sup, request, RESULT_NOT_FOUND, NULL);
}

/* restart_child and delete_child want a child that exists and does not run. */
static struct child *request_find_idle(struct sup *sup, const struct request *request)
{
	struct child *child;

	if (sup_is_simple(sup)) {
		request_answer(sup, request, RESULT_SIMPLE_ONE_FOR_ONE, NULL);
		return NULL;
	}
	child = sup_find_child(sup, request->id);
	if (!child)
		request_answer(sup, request, RESULT_NOT_FOUND, NULL);
	else if (child->state == CHILD_RESTARTING)
		request_answer(sup, request, RESULT_RESTARTING, NULL);
	else if (child->state != CHILD_UNDEFINED)
		tree_reply(sup, request->number, RESULT_RUNNING, child, NULL);
	else
		return child;
	return NULL;
}

static void serve_restart_child(struct sup *sup, struct request *request)
{
	struct child *child = request_find_idle(sup, request);

	if (!child)
		return;
	sup_op_asked(sup, OP_ASKED_RESTART, child, request);
	sup_child_start(sup, child);
}

static void serve_delete_child(struct sup *sup, struct request *request)
{
	struct child *child = request_find_idle(sup, request);

	if (!child)
		return;
	request_answer(sup, request, RESULT_OK, NULL);
	sup_child_free(child);
}

static void serve_change(struct sup *sup, struct request *request)
{
	enum request_result result = sup_change(sup, request->group);

	request_answer(sup, request, result,
		result == RESULT_INVALID       ? spec_verdict_name(SPEC_INVALID_STRATEGY)
		: result == RESULT_START_ERROR ? err_reason(ERR_NO_MEMORY)
					       : NULL);
}

void sup_serve(struct sup *sup, struct request *request)
{
	static void (*const serve[REQUEST_MAX])(struct sup * sup, struct request * request) = {
		[REQUEST_START_CHILD] = serve_start_child,
		[REQUEST_START_DYNAMIC] = serve_start_dynamic,
		[REQUEST_TERMINATE_CHILD] = serve_terminate_child,
		[REQUEST_TERMINATE_INSTANCE] = serve_terminate_instance,
		[REQUEST_RESTART_CHILD] = serve_restart_child,
		[REQUEST_DELETE_CHILD] = serve_delete_child,
		[REQUEST_CHANGE] = serve_change,
	};

	serve[request->kind](sup, request);
	sup_request_free(sup->tree, request);
}
