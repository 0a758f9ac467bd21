/* A request to the node's admin socket. */
#ifndef GATEHOUSE_CTL_CLIENT_H
#define GATEHOUSE_CTL_CLIENT_H

#include "buf.h"
#include "ctl.h"

#include <cjson/cJSON.h>

#define CLIENT_REPLY_MAX (64u * 1024 * 1024)

/* An open connection to a node. */
struct client;

/*
 * Where the node's socket is: --socket, -c FILE, $GATEHOUSE_SOCKET, $XDG_RUNTIME_DIR, /run. Returns
 * EXIT_DONE or the exit status of what was printed.
 */
int client_find_socket(const struct invocation *inv, char *path, size_t size);
/* The same without a word on failure: for who starts a node when there is none. -1 on failure. */
int client_open_quietly(const char *path, struct client **ret_client);
/* Dial. Prints why not. */
int client_open(const struct invocation *inv, struct client **ret_client);
void client_close(struct client *client);

/*
 * Ask {"command":command, …arguments} (arguments: members without a leading comma, or "").
 * *ret_text (free) is the answer as it came, *ret_json the same parsed (cJSON_Delete); either may
 * be NULL. Prints the node's error. Returns EXIT_DONE or an exit status.
 */
int client_ask(struct client *client, const char *command, const char *arguments, char **ret_text,
	cJSON **ret_json);

/*
 * The same without a word: 0 with *ret_json, the whole answer; -1 when there was none. An answer
 * that says no is one for client_ask_with, none for client_ask_quietly.
 */
int client_ask_with(
	struct client *client, const char *command, const char *arguments, cJSON **ret_json);
int client_ask_quietly(struct client *client, const char *command, cJSON **ret_json);

#endif
