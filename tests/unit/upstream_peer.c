#include "upstream_peer.h"

#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void make_certificate(struct peer *peer)
{
	char command[512];

	snprintf(peer->cert, sizeof(peer->cert), "%s/cert.pem", peer->dir);
	snprintf(peer->key, sizeof(peer->key), "%s/key.pem", peer->dir);
	snprintf(command, sizeof(command),
		"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "
		"-keyout %s -out %s -subj /CN=x -addext subjectAltName=DNS:localhost 2>/dev/null",
		peer->key, peer->cert);
	ck_assert_int_eq(system(command), 0);
	setenv("SSL_CERT_FILE", peer->cert, 1);
}

static void run(const struct peer *peer, int in, int out)
{
	dup2(in, 0);
	dup2(out, 1);
	execlp("python3", "python3", SCRIPTED_PEER, peer->transport, peer->modes, peer->log,
		peer->tls ? peer->cert : NULL, peer->key, NULL);
	_exit(127);
}

static void listen_somewhere(struct peer *peer)
{
	int in[2], out[2];
	FILE *said;

	ck_assert_int_eq(pipe(in) | pipe(out), 0);
	peer->pid = fork();
	if (peer->pid == 0) {
		close(in[1]);
		run(peer, in[0], out[1]);
	}
	close(in[0]);
	close(out[1]);
	peer->in = in[1];
	said = fdopen(out[0], "r");
	ck_assert_int_eq(fscanf(said, "%d", &peer->port), 1);
	fclose(said);
}

void peer_start(struct peer *peer, const char *transport, const char *modes, bool tls)
{
	*peer = (struct peer){.transport = transport, .modes = modes, .tls = tls, .in = -1};
	snprintf(peer->dir, sizeof(peer->dir), "/tmp/upstream-peer-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(peer->dir));
	snprintf(peer->log, sizeof(peer->log), "%s/log", peer->dir);
	if (tls)
		make_certificate(peer);
	if (strcmp(transport, "stdio") == 0)
		snprintf(peer->command, sizeof(peer->command),
			"/usr/bin/env python3 %s stdio %s %s", SCRIPTED_PEER, modes, peer->log);
	else
		listen_somewhere(peer);
}

void peer_kill(struct peer *peer)
{
	if (!peer->pid)
		return;
	close(peer->in);
	kill(peer->pid, SIGKILL);
	waitpid(peer->pid, NULL, 0);
	peer->pid = 0;
}

void peer_end(struct peer *peer)
{
	peer_kill(peer);
	unlink(peer->log);
	unlink(peer->cert);
	unlink(peer->key);
	rmdir(peer->dir);
}

void peer_world(const struct peer *peer, struct world *world, const char *type, const char *more)
{
	bool ws = strcmp(peer->transport, "ws") == 0;
	char yaml[1024];
	int n = 0;

	if (peer->command[0])
		n = snprintf(yaml, sizeof(yaml), "    command: /usr/bin/env\n");
	else
		n = snprintf(yaml, sizeof(yaml), "    url: \"%s%s://%s:%d/%s\"\n",
			ws ? "ws" : "http", peer->tls ? "s" : "",
			peer->tls ? "localhost" : "127.0.0.1", peer->port, peer->transport);
	if (type)
		n += snprintf(yaml + n, sizeof(yaml) - (size_t)n, "    type: %s\n", type);
	snprintf(yaml + n, sizeof(yaml) - (size_t)n, "%s", more);
	world_start(world, yaml, peer->command);
}

/* --- its log --------------------------------------------------------------------------------- */

static bool matches(char *line, const char *pattern)
{
	char copy[128], *words, *wants, *word = strtok_r(line, " \n", &words), *want;

	snprintf(copy, sizeof(copy), "%s", pattern);
	for (want = strtok_r(copy, " ", &wants); want; want = strtok_r(NULL, " ", &wants)) {
		if (!word || (strcmp(want, "*") != 0 && strcmp(want, word) != 0))
			return false;
		word = strtok_r(NULL, " \n", &words);
	}
	return true;
}

unsigned peer_count(const struct peer *peer, const char *pattern)
{
	FILE *log = fopen(peer->log, "r");
	char line[512];
	unsigned n = 0;

	while (log && fgets(line, sizeof(line), log))
		n += matches(line, pattern);
	if (log)
		fclose(log);
	return n;
}

bool peer_has_ended(const struct peer *peer, unsigned nth)
{
	FILE *log = fopen(peer->log, "r");
	char line[512], word[64], last[64] = "";
	long number, sought = -1;

	while (log && fgets(line, sizeof(line), log)) {
		if (sscanf(line, "%63s %ld", word, &number) != 2)
			continue;
		if (strcmp(word, "open") == 0 && --nth == 0)
			sought = number;
		if (number == sought)
			snprintf(last, sizeof(last), "%s", word);
	}
	if (log)
		fclose(log);
	return strcmp(last, "end") == 0;
}
