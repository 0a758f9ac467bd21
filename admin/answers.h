/* What parts of the node have answered, put together for who asked the admin process. */
#ifndef GATEHOUSE_ADMIN_ANSWERS_H
#define GATEHOUSE_ADMIN_ANSWERS_H

#include "parts.h"

/* Has it answered with JSON? */
bool answer_is_json(const struct parts_answer *answer);
/* The members of a JSON object, with a leading comma; nothing for anything else. */
void answers_splice(struct buf *out, struct span json);

/*
 * Lines of several upstream workers, in the order of the answers, each with its server's name:
 * {"ok":true,"lines":[{"server":"files","n":1,…},…],"not_answering":["wiki"]}. First ask whether
 * that fits into ADMIN_REPLY_MAX.
 */
bool answers_logs_fit(const struct parts_answer *answers, size_t n);
void answers_write_logs(const struct parts_answer *answers, size_t n, struct buf *out);

#endif
