/* The edge: each HTTP request is judged here, and sent on its way. */
#ifndef GATEHOUSE_EDGE_H
#define GATEHOUSE_EDGE_H

#include "exchange.h"
#include "gateway.h"

/* arg of the server is its struct door. */
extern const struct http_server_ops edge_ops;

/* Limits of the connections of a listener; index: as in LISTENER. */
struct http_limits edge_limits(const struct config *config, uint32_t index);

/*
 * Answer with an error of ours, counted and logged. id: raw JSON-RPC id, or empty. allow: the
 * methods for Allow, or NULL.
 */
void edge_refuse(struct door *door, struct http_conn *conn, const struct http1_head *head,
	const struct err *err, struct span id, const char *allow);

/* The same for what was posted: with the id that the body has. */
void edge_refuse_body(struct door *door, struct http_conn *conn, const struct http_request *request,
	const struct err *err);
/* The same for what may still be answered elsewhere: the error answers no request. */
void edge_give_up(struct door *door, struct http_conn *conn, const struct http1_head *head,
	const struct err *err);

/* 202: the message that was posted is on its way. origin: of the page that sent it, or empty. */
void edge_accept(struct door *door, struct http_conn *conn, struct span origin);

/* --- pages.c: what is not MCP --------------------------------------------------------------- */

/* Is there anything at this path? */
bool page_exists(struct span path);
void page_answer(struct door *door, struct http_conn *conn, const struct http1_head *head);

#endif
