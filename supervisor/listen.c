#include "listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define LISTEN_BACKLOG 4096

static int fail_bind(const char *where, struct err *err)
{
	if (errno == EADDRINUSE)
		return err_set(err, ERR_EXISTS,
			"%s is in use by another program: stop that one (gatehouse status shows "
			"whether it is a "
			"node), or choose another address with --listen",
			where);
	if (errno == EACCES)
		return err_set(err, ERR_SYSTEM,
			"no permission to listen on %s: choose a port above 1023", where);
	return err_set_errno(err, "cannot listen on %s", where);
}

static int open_socket(const struct sockaddr *addr, socklen_t len, bool reuse_port,
	const char *where, int *ret_fd, struct err *err)
{
	int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int one = 1, r;

	if (fd < 0)
		return err_set_errno(err, "cannot make a socket for %s", where);
	if (addr->sa_family != AF_UNIX) {
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		if (reuse_port)
			setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	}
	if (bind(fd, addr, len) < 0 || listen(fd, LISTEN_BACKLOG) < 0) {
		r = fail_bind(where, err);
		close(fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

static int listen_tcp(
	const struct config_listen *where, bool reuse_port, int *ret_fd, struct err *err)
{
	const struct addrinfo hints = {.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
		.ai_flags = AI_PASSIVE | AI_NUMERICSERV};
	struct addrinfo *found;
	char port[8], text[300];
	int r;

	snprintf(port, sizeof(port), "%u", where->port);
	snprintf(text, sizeof(text), "%s:%u", where->host, where->port);
	r = getaddrinfo(where->host, port, &hints, &found);
	if (r != 0)
		return err_set(err, ERR_CONFIG, "%s: %s", text, gai_strerror(r));
	r = open_socket(found->ai_addr, found->ai_addrlen, reuse_port, text, ret_fd, err);
	freeaddrinfo(found);
	return r;
}

/* Remove a socket file that nobody serves any more; leave alone everything else. */
static int clear_stale(const struct sockaddr_un *addr, struct err *err)
{
	struct stat st;
	int fd, r;

	if (lstat(addr->sun_path, &st) < 0)
		return 0;
	if (!S_ISSOCK(st.st_mode))
		return err_set(err, ERR_EXISTS,
			"%s exists and is not a socket: move it away or choose another path",
			addr->sun_path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_set_errno(err, "cannot make a socket");
	r = connect(fd, (const struct sockaddr *)addr, sizeof(*addr));
	close(fd);
	if (r == 0)
		return err_set(err, ERR_EXISTS,
			"%s is served by another program: stop that one or choose another path",
			addr->sun_path);
	unlink(addr->sun_path);
	return 0;
}

static int listen_unix(const struct config_listen *where, int *ret_fd, struct err *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int r;

	if (strlen(where->path) >= sizeof(addr.sun_path))
		return err_set(err, ERR_CONFIG, "the socket path %s is longer than %zu bytes",
			where->path, sizeof(addr.sun_path) - 1);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", where->path);
	r = clear_stale(&addr, err);
	if (r < 0)
		return r;
	return open_socket((struct sockaddr *)&addr, sizeof(addr), false, where->path, ret_fd, err);
}

int listen_open(const struct config_listen *where, bool reuse_port, int *ret_fd, struct err *err)
{
	if (where->kind == CONFIG_LISTEN_UNIX)
		return listen_unix(where, ret_fd, err);
	return listen_tcp(where, reuse_port, ret_fd, err);
}

uint16_t listen_port(int fd)
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);

	if (getsockname(fd, (struct sockaddr *)&addr, &len) < 0)
		return 0;
	if (addr.ss_family == AF_INET)
		return ntohs(((struct sockaddr_in *)&addr)->sin_port);
	if (addr.ss_family == AF_INET6)
		return ntohs(((struct sockaddr_in6 *)&addr)->sin6_port);
	return 0;
}

int listen_describe(int fd, char *text, size_t size)
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);
	char host[INET6_ADDRSTRLEN];
	int n;

	if (getsockname(fd, (struct sockaddr *)&addr, &len) < 0)
		return -ERR_SYSTEM;
	if (addr.ss_family == AF_INET) {
		inet_ntop(AF_INET, &((struct sockaddr_in *)&addr)->sin_addr, host, sizeof(host));
		n = snprintf(text, size, "http://%s:%u", host, listen_port(fd));
	} else if (addr.ss_family == AF_INET6) {
		inet_ntop(AF_INET6, &((struct sockaddr_in6 *)&addr)->sin6_addr, host, sizeof(host));
		n = snprintf(text, size, "http://[%s]:%u", host, listen_port(fd));
	} else {
		n = snprintf(text, size, "unix:%s", ((struct sockaddr_un *)&addr)->sun_path);
	}
	return n < 0 || (size_t)n >= size ? -ERR_TOO_LARGE : 0;
}
