/* tls_session: one connection's TLS, between hiredis (which reads and writes through it) and conn. On the
 * thread of the connection's loop. Without TLS in the build none can be begun. */
#ifndef PHOENIX_ENGINE_REDIS_TLS_SESSION_H
#define PHOENIX_ENGINE_REDIS_TLS_SESSION_H

#include "engine/redis/tls.h"

struct redisContext;
struct tls_session;

/* Begins the handshake on a connected context; not from inside one of hiredis' callbacks, which would go on
 * with a context half changed where this fails. `host`: whom the certificate must name. NULL with `why`. */
struct tls_session *tls_session_begin(struct redis_tls *tls, struct redisContext *context, const char *host,
                                      char *why, size_t why_size);
/* Forgets it; before hiredis frees the context, or when it is about to. Accepts NULL. */
void tls_session_end(struct tls_session **session);

/* Before each read or write of hiredis': OpenSSL judges an operation by its thread's queue of errors, and
 * what another connection left there would end this one. */
void tls_session_prepare(const struct tls_session *session);
/* After a read: decrypted bytes are left that no event on the socket will announce. */
bool tls_session_pending(const struct tls_session *session);
/* After a write that is not complete: it goes on when something was read, not when the socket is writable. */
bool tls_session_awaits_read(const struct tls_session *session);
bool tls_session_established(const struct tls_session *session);

/* Why the connection ended just now, in place of what hiredis says of it (`why` on entry). `greeted`: the
 * server had answered before. */
void tls_session_explain(const struct tls_session *session, bool greeted, char *why, size_t why_size);

#endif
