/* Whose word is taken for whom: base/network, gateway/proxy_protocol, gateway/forwarded. */
#include "err.h"
#include "forwarded.h"
#include "proxy_protocol.h"

#include <check.h>
#include <stdlib.h>

/* --- addresses and networks ------------------------------------------------------------------- */

static const struct {
	const char *text, *shown; /* NULL: refused */
} addresses[] = {
	{"192.0.2.1", "192.0.2.1"},
	{"192.0.2.1:4711", "192.0.2.1:4711"},
	{"192.0.2.1:65535", "192.0.2.1:65535"},
	{"2001:db8::1", "2001:db8::1"},
	{"[2001:db8::1]", "2001:db8::1"},
	{"[2001:db8::1]:80", "[2001:db8::1]:80"},
	{"::ffff:192.0.2.1", "192.0.2.1"},
	{"192.0.2.1:65536", NULL},
	{"192.0.2.1:", NULL},
	{"192.0.2.1:8o", NULL},
	{"[192.0.2.1]:80", NULL},
	{"[2001:db8::1", NULL},
	{"[2001:db8::1]80", NULL},
	{"192.0.2.256", NULL},
	{"192.0.2", NULL},
	{"unknown", NULL},
	{"_hidden", NULL},
	{"", NULL},
};

START_TEST(test_address)
{
	struct net_address address = {.port = 1};
	char text[NET_TEXT_MAX];
	int r = net_parse(span_str(addresses[_i].text), &address);

	if (!addresses[_i].shown) {
		ck_assert_msg(r == -ERR_INVALID_ARGUMENT, "%s", addresses[_i].text);
		ck_assert_uint_eq(address.port, 1);
		return;
	}
	ck_assert_int_eq(r, 0);
	net_format(&address, text);
	ck_assert_str_eq(text, addresses[_i].shown);
}
END_TEST

static const struct {
	const char *network, *inside, *outside;
} networks[] = {
	{"10.0.0.0/8", "10.255.0.1", "11.0.0.1"},
	{"10.0.0.0/8", "::ffff:10.1.1.1", "::10.1.1.1"},
	{"192.0.2.7", "192.0.2.7:99", "192.0.2.6"},
	{"192.0.2.128/25", "192.0.2.129", "192.0.2.127"},
	{"0.0.0.0/0", "255.1.1.1", "2001:db8::1"},
	{"::/0", "192.0.2.1", NULL},
	{"2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::1"},
	{"fe80::1/128", "fe80::1", "fe80::2"},
	{"unix", NULL, "127.0.0.1"},
};

START_TEST(test_network)
{
	const struct net_address local = {.kind = NET_UNIX}, none = {.kind = NET_NONE};
	struct net_address address;
	struct network network;

	ck_assert_int_eq(network_parse(span_str(networks[_i].network), &network), 0);
	if (networks[_i].inside) {
		ck_assert_int_eq(net_parse(span_str(networks[_i].inside), &address), 0);
		ck_assert(network_contains(&network, &address));
	}
	if (networks[_i].outside) {
		ck_assert_int_eq(net_parse(span_str(networks[_i].outside), &address), 0);
		ck_assert(!network_contains(&network, &address));
	}
	ck_assert(network_contains(&network, &local) == (networks[_i].inside == NULL));
	ck_assert(!network_contains(&network, &none));
}
END_TEST

static const char *const no_networks[] = {"", "/8", "10.0.0.0/", "10.0.0.0/33", "::/129",
	"10.0.0.0/+8", "10.0.0.0/8x", "[::1]", "10.0.0.0:80", "10.0.0.0/999999", "example.org"};

START_TEST(test_no_network)
{
	struct network network;

	ck_assert_int_eq(network_parse(span_str(no_networks[_i]), &network), -ERR_INVALID_ARGUMENT);
}
END_TEST

/* --- PROXY protocol --------------------------------------------------------------------------- */

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define V4 "\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\x12\x67\x00\x50"
#define V6_PAIR \
	"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02\x12" \
	"\x67\x00\x50"
#define P(text) SPAN_LIT(text)

static const struct {
	struct span data;
	const char *client; /* "": the peer itself; NULL: an error */
	size_t rest;        /* bytes behind the preamble */
	const char *says;   /* of an error */
} preambles[] = {
	{P("PROXY TCP4 192.0.2.1 192.0.2.2 4711 80\r\nGET"), "192.0.2.1:4711", 3, ""},
	{P("PROXY TCP6 2001:db8::1 2001:db8::2 4711 80\r\n"), "[2001:db8::1]:4711", 0, ""},
	{P("PROXY UNKNOWN\r\nGET"), "", 3, ""},
	{P("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n"), "", 0, ""},
	{P("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"), "255.255.255.255:65535",
		0, ""},
	{P("PROXY TCP4 192.0.2.1 192.0.2.2 4711 80\nGET"), NULL, 0, "CR LF"},
	{P("PROXY TCP4 192.0.2.1 192.0.2.2 4711\r\n"), NULL, 0, "few words"},
	{P("PROXY TCP4 192.0.2.1 192.0.2.2 4711 80 \r\n"), NULL, 0, "port"},
	{P("PROXY TCP4 192.0.2.1 192.0.2.2 4711 80 9\r\n"), NULL, 0, "port"},
	{P("PROXY TCP4 192.0.2.1  192.0.2.2 4711 80\r\n"), NULL, 0, "few words"},
	{P("PROXY TCP4 192.0.2.1 192.0.2.2 04711 80\r\n"), NULL, 0, "port"},
	{P("PROXY TCP4 192.0.2.1 192.0.2.2 65536 80\r\n"), NULL, 0, "port"},
	{P("PROXY TCP4 2001:db8::1 192.0.2.2 1 80\r\n"), NULL, 0, "address"},
	{P("PROXY TCP4 192.0.2.1\0x 192.0.2.2 1 80\r\n"), NULL, 0, "address"},
	{P("PROXY UDP4 192.0.2.1 192.0.2.2 1 80\r\n"), NULL, 0, "neither"},
	{P("PROXY \r\n"), NULL, 0, "names no protocol"},
	{P("PROXY /mcp HTTP/1.1\r\n"), NULL, 0, "neither"},
	{P("PROXY UNKNOWN aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	   "aaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n"),
		NULL, 0, "107"},
	{P(SIGNATURE "\x21" V4 "GET"), "192.0.2.1:4711", 3, ""},
	{P(SIGNATURE "\x21\x21\x00\x24" V6_PAIR), "[2001:db8::1]:4711", 0, ""},
	/* with extensions */
	{P(SIGNATURE "\x21\x11\x00\x13\xc0\x00\x02\x01\xc0\x00\x02\x02\x12\x67\x00\x50\x04\x00\x04"
		     "abcdGET"),
		"192.0.2.1:4711", 3, ""},
	/* LOCAL, whatever addresses it has; UNSPEC */
	{P(SIGNATURE "\x20" V4), "", 0, ""},
	{P(SIGNATURE "\x20\x00\x00\x00GET"), "", 3, ""},
	{P(SIGNATURE "\x21\x00\x00\x02xxGET"), "", 3, ""},
	{P(SIGNATURE "\x21\x11\x00\x0b\xc0\x00\x02\x01\xc0\x00\x02\x02\x12\x67\x00"), NULL, 0,
		"too short"},
	{P(SIGNATURE "\x21\x21\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\x12\x67\x00\x50"), NULL, 0,
		"too short"},
	{P(SIGNATURE "\x11" V4), NULL, 0, "version or command"},
	{P(SIGNATURE "\x22" V4), NULL, 0, "version or command"},
	{P(SIGNATURE "\x21\x12\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\x12\x67\x00\x50"), NULL, 0,
		"family"},
	{P(SIGNATURE "\x21\x11\x0f\xf1"), NULL, 0, "4096"},
};

/* Whole, and byte by byte: until all is there, more is asked for. */
START_TEST(test_preamble)
{
	struct span data = preambles[_i].data;
	struct net_address client;
	struct err err = {0};
	char text[NET_TEXT_MAX];
	int r = proxy_preamble_read(data, &client, &err);

	ck_assert(proxy_preamble_begins(data));
	if (!preambles[_i].client) {
		ck_assert_int_eq(r, -ERR_BAD_HTTP);
		ck_assert_msg(
			strstr(err_text(&err), preambles[_i].says), "%d: %s", _i, err_text(&err));
		return;
	}
	ck_assert_int_eq(r, (int)(data.len - preambles[_i].rest));
	net_format(&client, text);
	ck_assert_str_eq(text, preambles[_i].client);
	for (size_t n = 0; n < data.len - preambles[_i].rest; n++)
		ck_assert_int_eq(proxy_preamble_read(span_of(data.p, n), &client, &err), 0);
}
END_TEST

START_TEST(test_no_preamble)
{
	static const struct span others[] = {P("POST /mcp"), P("PROXIES"), P("PROPFIND "),
		P("\r\n\r\nGET"), P("\r\nP"), P("x"), P("\r\n\r\n\0\r\nQUIX")};
	struct net_address client;
	struct err err = {0};

	ck_assert_int_eq(proxy_preamble_read(others[_i], &client, &err), -ERR_NOT_FOUND);
	ck_assert(!proxy_preamble_begins(others[_i]));
}
END_TEST

/* --- Forwarded and X-Forwarded-For ------------------------------------------------------------ */

#define FOR(value) \
	{ \
		P("X-Forwarded-For"), P(value) \
	}
#define STD(value) \
	{ \
		P("forwarded"), P(value) \
	}

static const struct {
	struct http1_header headers[4];
	const char *client;
} forwards[] = {
	{{FOR("192.0.2.1")}, "192.0.2.1"},
	{{FOR("192.0.2.1, 10.0.0.2")}, "192.0.2.1"},
	/* what an untrusted one wrote before it is not believed */
	{{FOR("1.1.1.1, 192.0.2.1, 10.0.0.2, 10.0.0.3")}, "192.0.2.1"},
	{{FOR("1.1.1.1"), FOR("192.0.2.1"), FOR("10.0.0.2")}, "192.0.2.1"},
	{{FOR("10.0.0.7, 10.0.0.2")}, "10.0.0.7"},
	{{FOR("192.0.2.1, unknown, 10.0.0.2")}, "10.0.0.2"},
	{{FOR("192.0.2.1, ")}, "10.0.0.1"},
	{{FOR("2001:db8::1")}, "2001:db8::1"},
	{{FOR("192.0.2.1:4711")}, "192.0.2.1:4711"},
	{{STD("for=192.0.2.1")}, "192.0.2.1"},
	{{STD("for=1.1.1.1, For=\"[2001:db8::1]:4711\";proto=https;by=10.0.0.1")},
		"[2001:db8::1]:4711"},
	{{STD("for=192.0.2.1;host=\"a,b;for=1.1.1.1\", for=10.0.0.2")}, "192.0.2.1"},
	{{STD("for=192.0.2.1, for=_hidden")}, "10.0.0.1"},
	{{STD("proto=https")}, "10.0.0.1"},
	/* of two headers the client may have written one */
	{{STD("for=1.1.1.1"), FOR("192.0.2.1")}, "10.0.0.1"},
	{{STD("for=192.0.2.1"), FOR("192.0.2.1")}, "192.0.2.1"},
	{{{P("Host"), P("x")}}, "10.0.0.1"},
};

static struct trust trusted(void)
{
	static struct network network;
	const struct trust trust = {.networks = &network, .count = 1};

	ck_assert_int_eq(network_parse(SPAN_LIT("10.0.0.0/8"), &network), 0);
	return trust;
}

START_TEST(test_forwarded)
{
	const struct trust trust = trusted();
	struct http1_header headers[4];
	struct http1_head head = {.headers = headers};
	struct net_address peer, client;
	char text[NET_TEXT_MAX];

	memcpy(headers, forwards[_i].headers, sizeof(headers));
	while (head.nheaders < 4 && headers[head.nheaders].name.len)
		head.nheaders++;
	ck_assert_int_eq(net_parse(SPAN_LIT("10.0.0.1"), &peer), 0);
	client = forwarded_client(&head, &peer, &trust);
	net_format(&client, text);
	ck_assert_str_eq(text, forwards[_i].client);
}
END_TEST

/* More hops than anybody has: the walk ends. */
START_TEST(test_many_hops)
{
	const struct trust trust = trusted();
	char value[8192] = "192.0.2.1";
	struct http1_header header = {P("X-Forwarded-For"), SPAN_NONE};
	struct http1_head head = {.headers = &header, .nheaders = 1};
	struct net_address peer, client;
	char text[NET_TEXT_MAX];

	for (int i = 0; i < 500; i++)
		strcat(value, ",10.0.0.2");
	header.value = span_str(value);
	ck_assert_int_eq(net_parse(SPAN_LIT("10.0.0.1"), &peer), 0);
	client = forwarded_client(&head, &peer, &trust);
	net_format(&client, text);
	ck_assert_str_eq(text, "10.0.0.2");
}
END_TEST

/* Long lists of elements and of parameters cost no more than their length. */
START_TEST(test_long_lists)
{
	static char value[512 * 1024];
	const struct trust trust = trusted();
	struct http1_header header = {P("Forwarded"), span_of(value, sizeof(value))};
	struct http1_head head = {.headers = &header, .nheaders = 1};
	struct net_address peer, client;
	char text[NET_TEXT_MAX];

	ck_assert_int_eq(net_parse(SPAN_LIT("10.0.0.1"), &peer), 0);
	for (int i = 0; i < 2; i++) {
		memset(value, i ? ',' : ';', sizeof(value));
		memcpy(value + sizeof(value) - 13, "for=192.0.2.1", 13);
		client = forwarded_client(&head, &peer, &trust);
		net_format(&client, text);
		ck_assert_str_eq(text, "192.0.2.1");
	}
}
END_TEST

START_TEST(test_prefix)
{
	static const struct {
		const char *value, *prefix;
	} rows[] = {
		{"/gw", "/gw"},
		{"/gw/", "/gw"},
		{"/a/b-c_d.e~f/%20", "/a/b-c_d.e~f/%20"},
		{"/outer, /inner", "/inner"},
		{"/", ""},
		{"", ""},
		{"gw", ""},
		{"//evil.example", ""},
		{"/a b", ""},
		{"/a?b", ""},
		{"/a\"b", ""},
	};
	struct http1_header header = {P("X-Forwarded-Prefix"), SPAN_NONE};
	struct http1_head head = {.headers = &header, .nheaders = 1};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		header.value = span_str(rows[i].value);
		ck_assert_msg(span_is(forwarded_prefix(&head), rows[i].prefix), "%s",
			rows[i].value);
	}
}
END_TEST

START_TEST(test_host)
{
	struct http1_header headers[] = {
		{P("X-Forwarded-Host"), P("evil.example, mcp.example:8443")},
		{P("X-Forwarded-Proto"), P("https")}};
	struct http1_head head = {.headers = headers, .nheaders = 2, .host = P("127.0.0.1")};
	struct span host;

	ck_assert(forwarded_host(&head, &host));
	ck_assert(span_is(host, "mcp.example:8443"));
	headers[0].value = P("a b");
	headers[1].value = P("http");
	ck_assert(!forwarded_host(&head, &host));
	ck_assert(span_is(host, "127.0.0.1"));
}
END_TEST

#define COUNT(rows) ((int)(sizeof(rows) / sizeof(*(rows))))

int main(void)
{
	Suite *suite = suite_create("proxy");
	TCase *tcase = tcase_create("all");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(tcase, test_address, 0, COUNT(addresses));
	tcase_add_loop_test(tcase, test_network, 0, COUNT(networks));
	tcase_add_loop_test(tcase, test_no_network, 0, COUNT(no_networks));
	tcase_add_loop_test(tcase, test_preamble, 0, COUNT(preambles));
	tcase_add_loop_test(tcase, test_no_preamble, 0, 7);
	tcase_add_loop_test(tcase, test_forwarded, 0, COUNT(forwards));
	tcase_add_test(tcase, test_many_hops);
	tcase_add_test(tcase, test_long_lists);
	tcase_add_test(tcase, test_prefix);
	tcase_add_test(tcase, test_host);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
