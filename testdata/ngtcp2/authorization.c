/*
 * Gives ngtcp2's client, which has no option for header fields, an Authorization
 * field on every request: loaded before libnghttp3 (LD_PRELOAD), it adds the
 * value of RIPT_AUTHORIZATION to what nghttp3_conn_submit_request is asked to
 * send. Nothing of the client's HTTP/3 and QUIC is touched.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* As in <nghttp3/nghttp3.h>, whose package the tests need not install. */
typedef struct {
	const uint8_t *name;
	const uint8_t *value;
	size_t namelen;
	size_t valuelen;
	uint8_t flags;
} nghttp3_nv;

typedef int (*submit_request)(void *conn, int64_t stream_id, const nghttp3_nv *nva, size_t nvlen, const void *dr, void *user);

int nghttp3_conn_submit_request(void *conn, int64_t stream_id, const nghttp3_nv *nva, size_t nvlen, const void *dr, void *user)
{
	enum { most = 64 };
	static const char name[] = "authorization";
	submit_request next = (submit_request)dlsym(RTLD_NEXT, "nghttp3_conn_submit_request");
	const char *value = getenv("RIPT_AUTHORIZATION");
	nghttp3_nv all[most];

	if (value == NULL || nvlen >= most)
		return next(conn, stream_id, nva, nvlen, dr, user);
	memcpy(all, nva, nvlen * sizeof all[0]);
	all[nvlen] = (nghttp3_nv){(const uint8_t *)name, (const uint8_t *)value, sizeof name - 1, strlen(value), 0};
	return next(conn, stream_id, all, nvlen + 1, dr, user);
}
