/* The log file, log.file: opened here for all processes, and opened anew when it was moved away. */
#include "node.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOG_FILE_MODE 0640

static int open_file(const char *path, int *ret_fd, struct err *err)
{
	/* a named pipe without a reader must not stop the node */
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
		LOG_FILE_MODE);

	if (fd < 0)
		return err_set_errno(err, "cannot open the log file %s (log.file)", path);
	*ret_fd = fd;
	return 0;
}

/* The log of the root has a descriptor of its own. */
static int take(struct node *node, int fd, struct err *err)
{
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	if (own < 0) {
		close(fd);
		return err_set_errno(err, "cannot write the log file");
	}
	log_set_file(own);
	if (node->log_file >= 0)
		close(node->log_file);
	node->log_file = fd;
	return 0;
}

int node_open_log(struct node *node, struct err *err)
{
	int fd = -1, r;

	node->log_file = -1;
	if (!*node->config->log_file.p)
		return 0;
	node->log_path = strdup(node->config->log_file.p);
	r = node->log_path ? open_file(node->log_path, &fd, err) : -ERR_NO_MEMORY;
	if (r == 0)
		r = take(node, fd, err);
	if (r == 0)
		fprintf(stderr, "the log goes to %s\n", node->log_path);
	return r;
}

int node_resume_log(struct node *node, struct err *err)
{
	int own;

	if (node->log_file < 0)
		return 0;
	own = fcntl(node->log_file, F_DUPFD_CLOEXEC, 0);
	if (own < 0)
		return err_set_errno(err, "cannot write the log file");
	log_set_file(own);
	return 0;
}

void node_give_log(struct node *node, struct child *child)
{
	if (node->log_file < 0)
		return;
	link_send(child->link, MSG_LOG_FILE, 0, NULL, SPAN_NONE, &node->log_file);
}

int node_reopen_log(struct node *node, struct err *err)
{
	struct child *child;
	int fd = -1, r;

	if (!node->log_path)
		return 0;
	r = open_file(node->log_path, &fd, err);
	if (r == 0)
		r = take(node, fd, err);
	if (r < 0)
		return r;
	for (child = node->children.by_instance; child; child = child->hh.next) {
		if (!child->link)
			continue;
		node_give_log(node, child);
		/* its copy of the descriptor is closed as soon as it is sent */
		link_flush(child->link);
	}
	return 0;
}

void node_close_log(struct node *node)
{
	if (node->log_file >= 0)
		close(node->log_file);
	free(node->log_path);
}
