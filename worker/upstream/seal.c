#include "seal.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define KEY_SIZE 32
#define MAC_SIZE 32
#define PATH_SIZE 4200
#define PREFIX "gh1."
/* Of a MAC alone: no text of the other kind begins like this. */
#define MAC_PREFIX "gh1.mac\n"
/* prefix, name, dot, expiry, dot, MAC */
#define TEXT_MAX 192u
#define MESSAGE_MAX 4096u

struct seal {
	unsigned char key[KEY_SIZE];
};

/* --- what goes into one ------------------------------------------------------------------ */

static void write_hex(const unsigned char *bytes, size_t n, char *room)
{
	for (size_t i = 0; i < n; i++)
		snprintf(room + 2 * i, 3, "%02x", bytes[i]);
}

int seal_name(char room[SEAL_NAME_SIZE])
{
	unsigned char raw[(SEAL_NAME_SIZE - 1) / 2];

	if (RAND_bytes(raw, sizeof(raw)) != 1)
		return -ERR_SYSTEM;
	write_hex(raw, sizeof(raw), room);
	return 0;
}

void seal_digest(const struct span *spans, size_t n, unsigned char ret[SEAL_DIGEST_SIZE])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	memset(ret, 0, SEAL_DIGEST_SIZE);
	if (!ctx)
		return;
	EVP_DigestInit_ex(ctx, EVP_sha256(), NULL);
	for (size_t i = 0; i < n; i++) {
		uint64_t len = spans[i].len;

		EVP_DigestUpdate(ctx, &len, sizeof(len));
		if (len)
			EVP_DigestUpdate(ctx, spans[i].p, spans[i].len);
	}
	EVP_DigestFinal_ex(ctx, ret, NULL);
	EVP_MD_CTX_free(ctx);
}

static int write_mac(
	const struct seal *seal, const struct seal_facts *facts, char hex[2 * MAC_SIZE + 1])
{
	unsigned char mac[EVP_MAX_MD_SIZE];
	unsigned len = 0;
	struct buf message;
	int r;

	buf_init(&message, MESSAGE_MAX);
	/* none of these contains a line end but, perhaps, the last */
	r = buf_printf(&message, PREFIX "\n%s\n%llu\n%.*s\n%.*s\n", facts->name,
		(unsigned long long)facts->expires_s, SPAN_ARG(facts->server),
		SPAN_ARG(facts->method));
	if (r == 0)
		r = buf_append(&message, facts->digest, SEAL_DIGEST_SIZE);
	if (r == 0)
		r = buf_append_span(&message, facts->principal);
	if (r == 0 && !HMAC(EVP_sha256(), seal->key, KEY_SIZE, (unsigned char *)message.data,
			      message.len, mac, &len))
		r = -ERR_SYSTEM;
	if (r == 0)
		write_hex(mac, MAC_SIZE, hex);
	buf_free(&message);
	return r;
}

int seal_mac(const struct seal *seal, const struct span *spans, size_t n, char ret[SEAL_MAC_SIZE])
{
	unsigned char message[sizeof(MAC_PREFIX) - 1 + SEAL_DIGEST_SIZE], mac[EVP_MAX_MD_SIZE];
	unsigned len = 0;

	memcpy(message, MAC_PREFIX, sizeof(MAC_PREFIX) - 1);
	seal_digest(spans, n, message + sizeof(MAC_PREFIX) - 1);
	if (!HMAC(EVP_sha256(), seal->key, KEY_SIZE, message, sizeof(message), mac, &len))
		return -ERR_SYSTEM;
	write_hex(mac, MAC_SIZE, ret);
	return 0;
}

bool seal_same(struct span a, struct span b)
{
	return a.len == b.len && CRYPTO_memcmp(a.p, b.p, a.len) == 0;
}

/* --- the key ----------------------------------------------------------------------------- */

static int read_key(struct seal *seal, const char *path, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return errno == ENOENT ? -ERR_NOT_FOUND
				       : err_set_errno(err, "cannot open %s", path);
	n = read(fd, seal->key, KEY_SIZE);
	close(fd);
	return n == KEY_SIZE ? 0 : err_set(err, ERR_STORE, "%s is damaged: remove it", path);
}

static int write_key(const struct seal *seal, const char *path, struct err *err)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int r = 0;

	if (fd < 0)
		return err_set_errno(err, "cannot create %s", path);
	if (write(fd, seal->key, KEY_SIZE) != KEY_SIZE || fsync(fd) < 0)
		r = err_set_errno(err, "cannot write %s", path);
	close(fd);
	return r;
}

/* Of several processes that make one at once, the first one's counts. */
static int make_key(struct seal *seal, const char *path, struct err *err)
{
	char fresh[PATH_SIZE + 32];
	int r;

	snprintf(fresh, sizeof(fresh), "%s.%ld", path, (long)getpid());
	if (RAND_bytes(seal->key, KEY_SIZE) != 1)
		return err_set(err, ERR_SYSTEM, "no randomness for a key");
	unlink(fresh);
	r = write_key(seal, fresh, err);
	if (r == 0 && link(fresh, path) < 0)
		r = errno == EEXIST ? read_key(seal, path, err)
				    : err_set_errno(err, "cannot create %s", path);
	unlink(fresh);
	return r;
}

/* The library reads files on its first use, which a jailed process must not. */
static int use_once(const struct seal *seal, struct err *err)
{
	unsigned char digest[SEAL_DIGEST_SIZE];
	struct seal_facts facts = {.digest = digest};
	char mac[2 * MAC_SIZE + 1];

	seal_digest(NULL, 0, digest);
	if (seal_name(facts.name) < 0 || write_mac(seal, &facts, mac) < 0)
		return err_set(err, ERR_SYSTEM, "the node's key cannot be used");
	return 0;
}

int seal_new(const char *state_dir, struct seal **ret, struct err *err)
{
	struct seal *seal = calloc(1, sizeof(*seal));
	char path[PATH_SIZE];
	int r = -ERR_NOT_FOUND;

	if (!seal)
		return err_set(err, ERR_NO_MEMORY, "no memory for a key");
	if (snprintf(path, sizeof(path), "%s/request-state.key", state_dir) >= (int)sizeof(path))
		r = err_set(err, ERR_INVALID_ARGUMENT, "the path '%.80s…' is too long", state_dir);
	else
		r = read_key(seal, path, err);
	if (r == -ERR_NOT_FOUND)
		r = make_key(seal, path, err);
	if (r == 0)
		r = use_once(seal, err);
	if (r < 0) {
		seal_free(seal);
		return r;
	}
	*ret = seal;
	return 0;
}

void seal_free(struct seal *seal)
{
	if (seal)
		OPENSSL_cleanse(seal->key, KEY_SIZE);
	free(seal);
}

/* --- texts ------------------------------------------------------------------------------- */

int seal_write(const struct seal *seal, const struct seal_facts *facts, struct buf *out)
{
	char mac[2 * MAC_SIZE + 1];
	int r = write_mac(seal, facts, mac);

	return r < 0 ? r
		     : buf_printf(out, PREFIX "%s.%llu.%s", facts->name,
			       (unsigned long long)facts->expires_s, mac);
}

int seal_read(const struct seal *seal, struct span text, struct seal_facts *facts)
{
	char copy[TEXT_MAX], mac[2 * MAC_SIZE + 1], given[2 * MAC_SIZE + 1];
	unsigned long long expires = 0;
	int end = 0;

	if (text.len >= sizeof(copy) || text.len == 0)
		return -ERR_INVALID_ARGUMENT;
	memcpy(copy, text.p, text.len);
	copy[text.len] = '\0';
	if (sscanf(copy, PREFIX "%32[0-9a-f].%20llu.%64[0-9a-f]%n", facts->name, &expires, given,
		    &end) != 3 ||
		(size_t)end != text.len || strlen(given) != 2 * MAC_SIZE ||
		strlen(facts->name) != SEAL_NAME_SIZE - 1)
		return -ERR_INVALID_ARGUMENT;
	facts->expires_s = expires;
	if (write_mac(seal, facts, mac) < 0 || CRYPTO_memcmp(mac, given, 2 * MAC_SIZE) != 0)
		return -ERR_INVALID_ARGUMENT;
	return 0;
}
