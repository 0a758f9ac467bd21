/*
 * The PROXY preamble: nothing that is there may be read beyond, what asks for more at some length
 * does
 * not refuse or take less than that, and what is taken in pieces is what is taken whole.
 */
#include "fuzz.h"
#include "proxy_protocol.h"

#include <string.h>

/* A copy of exactly that length, so that a read beyond it is seen. */
static int read_exactly(const uint8_t *data, size_t size, struct net_address *ret)
{
	char *copy = malloc(size ? size : 1);
	struct err err = {0};
	int r;

	FUZZ_CHECK(copy);
	if (size)
		memcpy(copy, data, size);
	r = proxy_preamble_read(span_of(copy, size), ret, &err);
	FUZZ_CHECK(r != -ERR_BAD_HTTP || err_text(&err)[0]);
	free(copy);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct net_address whole, part;
	char text[NET_TEXT_MAX];
	int r = read_exactly(data, size, &whole), at = 0;

	FUZZ_CHECK(r == 0 || r == -ERR_NOT_FOUND || r == -ERR_BAD_HTTP ||
		   (r > 0 && (size_t)r <= size && (unsigned)r <= LIMIT_PROXY_PREAMBLE));
	FUZZ_CHECK(r > 0 || whole.kind == NET_NONE);
	net_format(&whole, text);
	/* the first verdict on the way is the one on the whole */
	for (size_t n = 0; n <= size && at == 0 && n <= LIMIT_PROXY_PREAMBLE; n++)
		at = read_exactly(data, n, &part);
	FUZZ_CHECK(at == r);
	if (r > 0)
		FUZZ_CHECK(part.kind == whole.kind && part.port == whole.port &&
			   memcmp(part.bytes, whole.bytes, sizeof(part.bytes)) == 0);
	return 0;
}
