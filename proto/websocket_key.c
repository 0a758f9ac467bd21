/* The opening handshake of WebSocket: its keys. */
#include "websocket.h"

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

/* RFC 6455 §1.3 */
#define ACCEPT_GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

int websocket_key(char ret[WEBSOCKET_KEY_SIZE])
{
	unsigned char bytes[16];

	if (RAND_bytes(bytes, sizeof(bytes)) != 1)
		return -ERR_SYSTEM;
	EVP_EncodeBlock((unsigned char *)ret, bytes, sizeof(bytes));
	return 0;
}

/* 16 bytes in base64: 22 characters of its alphabet and two paddings. */
static bool is_key(struct span key)
{
	static const char alphabet[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	if (key.len != WEBSOCKET_KEY_SIZE - 1 || key.p[22] != '=' || key.p[23] != '=')
		return false;
	for (size_t i = 0; i < 22; i++)
		if (!memchr(alphabet, key.p[i], sizeof(alphabet) - 1))
			return false;
	return true;
}

int websocket_accept(struct span key, char ret[WEBSOCKET_ACCEPT_SIZE])
{
	char text[WEBSOCKET_KEY_SIZE + sizeof(ACCEPT_GUID)];
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned len;

	if (!is_key(key))
		return -ERR_INVALID_ARGUMENT;
	snprintf(text, sizeof(text), "%.*s" ACCEPT_GUID, SPAN_ARG(key));
	if (EVP_Digest(text, strlen(text), digest, &len, EVP_sha1(), NULL) != 1)
		return -ERR_SYSTEM;
	EVP_EncodeBlock((unsigned char *)ret, digest, (int)len);
	return 0;
}
