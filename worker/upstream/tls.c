#include "tls.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

int tls_context_new(SSL_CTX **ret, struct err *err)
{
	static const unsigned char alpn[] = {8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());

	if (!context || !SSL_CTX_set_default_verify_paths(context) ||
		!SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) ||
		SSL_CTX_set_alpn_protos(context, alpn, sizeof(alpn)) != 0) {
		SSL_CTX_free(context);
		return err_set(err, ERR_SYSTEM, "TLS cannot be set up");
	}
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE |
					  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
					  SSL_MODE_RELEASE_BUFFERS);
	*ret = context;
	return 0;
}

static int expect_host(SSL *ssl, const char *host)
{
	unsigned char numeric[16];

	if (inet_pton(AF_INET, host, numeric) == 1 || inet_pton(AF_INET6, host, numeric) == 1)
		return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host);
	return SSL_set1_host(ssl, host) && SSL_set_tlsext_host_name(ssl, host);
}

SSL *tls_connect(SSL_CTX *context, int fd, const char *host)
{
	SSL *ssl = SSL_new(context);

	/* a connection whose peer is not checked must not exist */
	if (!ssl || !SSL_set_fd(ssl, fd) || !expect_host(ssl, host)) {
		SSL_free(ssl);
		return NULL;
	}
	SSL_set_connect_state(ssl);
	return ssl;
}

void tls_explain(const SSL *ssl, const char *authority, struct err *err)
{
	long verified = SSL_get_verify_result(ssl);
	unsigned long code = ERR_get_error();
	const char *why = "the connection was closed";

	if (verified != X509_V_OK)
		why = X509_verify_cert_error_string(verified);
	else if (code)
		why = ERR_reason_error_string(code);
	err_set(err, ERR_SERVER_DOWN, "no TLS with %s: %s", authority, why ? why : "unknown error");
}
