#include "ids.h"
#include "points.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define KEY_SIZE 32
#define PATH_SIZE 4096
#define RANDOM_SIZE 16
#define NODE_SIZE 2
#define MAC_SIZE 9
#define RAW_SIZE \
	(RANDOM_SIZE + NODE_SIZE + MAC_SIZE) /* a multiple of 3: base64 without padding \
					      */
#define TEXT_SIZE (RAW_SIZE / 3 * 4)

_Static_assert(TEXT_SIZE < SESSION_ID_SIZE, "an id fits");

struct ids {
	unsigned char key[KEY_SIZE];
	uint16_t node;
};

static int write_key(const struct ids *ids, const char *path, struct err *err)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int r = 0;

	if (fd < 0)
		return err_set_errno(err, "cannot create %s", path);
	if (write(fd, ids->key, KEY_SIZE) != KEY_SIZE || fsync(fd) < 0)
		r = err_set_errno(err, "cannot write %s", path);
	close(fd);
	return r;
}

/* There is a whole key or none, whenever this is interrupted. */
static int make_key(struct ids *ids, const char *path, struct err *err)
{
	char fresh[PATH_SIZE];
	int r;

	if (RAND_bytes(ids->key, KEY_SIZE) != 1)
		return err_set(err, ERR_SYSTEM, "no randomness for the session key");
	if (snprintf(fresh, sizeof(fresh), "%s.new", path) >= (int)sizeof(fresh))
		return err_set(err, ERR_INVALID_ARGUMENT, "the path '%.80s…' is too long", path);
	r = write_key(ids, fresh, err);
	if (r == 0 && rename(fresh, path) < 0)
		r = err_set_errno(err, "cannot create %s", path);
	return r;
}

static int load_key(struct ids *ids, const char *path, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0 && errno == ENOENT)
		return make_key(ids, path, err);
	if (fd < 0)
		return err_set_errno(err, "cannot open %s", path);
	n = read(fd, ids->key, KEY_SIZE);
	close(fd);
	if (n != KEY_SIZE)
		return err_set(err, ERR_STORE,
			"%s is damaged: restore it, or remove it (all sessions end)", path);
	return 0;
}

int ids_new(const char *state_dir, uint16_t node, struct ids **ret_ids, struct err *err)
{
	struct ids *ids = calloc(1, sizeof(*ids));
	char path[PATH_SIZE], first[SESSION_ID_SIZE];
	int r;

	if (!ids)
		return err_set(err, ERR_NO_MEMORY, "no memory for session ids");
	ids->node = node;
	if (snprintf(path, sizeof(path), "%s/session.key", state_dir) >= (int)sizeof(path))
		r = err_set(err, ERR_INVALID_ARGUMENT, "the path '%.80s…' is too long", state_dir);
	else
		r = load_key(ids, path, err);
	/* the library reads files on its first use, which a jailed process must not */
	if (r == 0)
		r = ids_make(ids, first, err);
	if (r < 0) {
		ids_free(ids);
		return r;
	}
	*ret_ids = ids;
	return 0;
}

void ids_free(struct ids *ids)
{
	if (ids)
		OPENSSL_cleanse(ids->key, KEY_SIZE);
	free(ids);
}

static void seal(const struct ids *ids, unsigned char raw[RAW_SIZE])
{
	unsigned char mac[EVP_MAX_MD_SIZE];
	unsigned len = 0;

	HMAC(EVP_sha256(), ids->key, KEY_SIZE, raw, RANDOM_SIZE + NODE_SIZE, mac, &len);
	memcpy(raw + RANDOM_SIZE + NODE_SIZE, mac, MAC_SIZE);
}

int ids_make(const struct ids *ids, char text[SESSION_ID_SIZE], struct err *err)
{
	unsigned char raw[RAW_SIZE];

	if (RAND_bytes(raw, RANDOM_SIZE) != 1)
		return err_set(err, ERR_SYSTEM, "no randomness for a session id");
	if (!POINT(OWNER))
		memset(raw, 0, RANDOM_SIZE - 2);
	raw[RANDOM_SIZE] = (unsigned char)(ids->node >> 8);
	raw[RANDOM_SIZE + 1] = (unsigned char)ids->node;
	seal(ids, raw);
	EVP_EncodeBlock((unsigned char *)text, raw, RAW_SIZE);
	for (char *p = text; *p; p++)
		*p = *p == '+' ? '-' : *p == '/' ? '_' : *p;
	return 0;
}

bool ids_valid(const struct ids *ids, struct span id)
{
	unsigned char text[TEXT_SIZE], raw[RAW_SIZE], expected[RAW_SIZE];

	if (id.len != TEXT_SIZE)
		return false;
	for (size_t i = 0; i < TEXT_SIZE; i++)
		text[i] = (unsigned char)(id.p[i] == '-' ? '+' : id.p[i] == '_' ? '/' : id.p[i]);
	if (EVP_DecodeBlock(raw, text, TEXT_SIZE) != RAW_SIZE)
		return false;
	memcpy(expected, raw, RAW_SIZE);
	seal(ids, expected);
	return CRYPTO_memcmp(raw, expected, RAW_SIZE) == 0;
}
