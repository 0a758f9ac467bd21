/*
 * The beginnings of arguments and results, for the lines of the access log while log.payloads is
 * on.
 * They are text, as they came; what is cut off is told in their place.
 */
#ifndef GATEHOUSE_PAYLOADS_H
#define GATEHOUSE_PAYLOADS_H

#include "span.h"

/* Bytes of each that are kept: two of them, escaped, fit into one line of the log. */
#define LIMIT_LOGGED_PAYLOAD 1024u

struct payloads;

/* body: of the request; copied as far as needed. NULL when memory is out. */
struct payloads *payloads_new(struct span body);
/* All of these accept NULL, for off. */
void payloads_free(struct payloads *payloads);
/* The whole answer. */
void payloads_answer(struct payloads *payloads, struct span body);
/* Bytes of an answer that is an event stream; begins: with these an event begins. */
void payloads_event(struct payloads *payloads, struct span bytes, bool begins);

/* What there is of them; spans live as long as payloads. */
struct span payloads_arguments(const struct payloads *payloads);
struct span payloads_result(struct payloads *payloads);
struct span payloads_error(struct payloads *payloads);

#endif
