/* tls: an SSL_CTX, made anew and swapped on reload; sessions hold a reference to the one they began with.
 * The SSL object is made here and handed to hiredis, because hiredis' own way checks the chain alone, not
 * whether the certificate is for this host. */
#include "engine/redis/tls.h"

#include "tls_session.h"

#include <stdio.h>
#include <stdlib.h>

#ifdef PHOENIX_TLS

#include <arpa/inet.h>
#include <hiredis/hiredis.h>
#include <hiredis/hiredis_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <string.h>

struct redis_tls {
    char *ca_file, *cert_file, *key_file;
    pthread_mutex_t lock; /* of ctx, the pointer */
    SSL_CTX *ctx;
};

struct tls_session {
    SSL *ssl;  /* hiredis frees it, with the context */
    bool bare; /* the server asked for a certificate and we had none */
};

bool redis_tls_available(void)
{
    return true;
}

/* The first error of the operation that just failed. */
static const char *reason_text(void)
{
    unsigned long e = ERR_peek_error();
    const char *text = ERR_SYSTEM_ERROR(e) ? strerror(ERR_GET_REASON(e)) : ERR_reason_error_string(e);
    return text ? text : "cannot be used";
}

/* --- files --- */

static bool failed(const char *option, const char *file, char *error, size_t size)
{
    snprintf(error, size, "%s %s: %s", option, file[0] ? file : "(the system's)", reason_text());
    return false;
}

/* A key with a passphrase must not make the daemon ask for it on a terminal. */
static int no_passphrase(char *out, int size, int rwflag, void *arg)
{
    (void)out;
    (void)size;
    (void)rwflag;
    (void)arg;
    return 0;
}

static int on_certificate_wanted(SSL *ssl, X509 **out_certificate, EVP_PKEY **out_key)
{
    (void)out_certificate;
    (void)out_key;
    struct tls_session *session = SSL_get_app_data(ssl);
    session->bare = true;
    return 0; /* none */
}

static bool load_files(const struct redis_tls *tls, SSL_CTX *ctx, char *error, size_t size)
{
    ERR_clear_error();
    if (tls->ca_file[0] ? SSL_CTX_load_verify_locations(ctx, tls->ca_file, NULL) != 1
                        : SSL_CTX_set_default_verify_paths(ctx) != 1)
        return failed("redis.tls_ca_file", tls->ca_file, error, size);
    if (!tls->cert_file[0] != !tls->key_file[0]) {
        snprintf(error, size, "redis.tls_cert_file and redis.tls_key_file: set both, or neither");
        return false;
    }
    if (!tls->cert_file[0]) return true;
    if (SSL_CTX_use_certificate_chain_file(ctx, tls->cert_file) != 1)
        return failed("redis.tls_cert_file", tls->cert_file, error, size);
    if (SSL_CTX_use_PrivateKey_file(ctx, tls->key_file, SSL_FILETYPE_PEM) != 1)
        return failed("redis.tls_key_file", tls->key_file, error, size);
    return true;
}

/* OpenSSL works a certificate's extensions out when it first needs them, behind an atomic flag; done here,
 * while one thread has them, no two threads meet there (and ThreadSanitizer, blind to that flag, finds
 * nothing to report). */
static void work_out_extensions(SSL_CTX *ctx)
{
    STACK_OF(X509_OBJECT) *all = X509_STORE_get0_objects(SSL_CTX_get_cert_store(ctx));
    for (int i = 0; i < sk_X509_OBJECT_num(all); i++) {
        X509 *authority = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(all, i));
        if (authority) (void)X509_check_purpose(authority, -1, 0);
    }
    X509 *ours = SSL_CTX_get0_certificate(ctx);
    if (ours) (void)X509_check_purpose(ours, -1, 0);
}

static SSL_CTX *make_context(const struct redis_tls *tls, char *error, size_t size)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (!ctx || SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1) {
        snprintf(error, size, "TLS: out of memory");
        SSL_CTX_free(ctx);
        return NULL;
    }
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS); /* connections are mostly idle */
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
    SSL_CTX_set_client_cert_cb(ctx, on_certificate_wanted);
    if (!load_files(tls, ctx, error, size)) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    work_out_extensions(ctx);
    return ctx;
}

struct redis_tls *redis_tls_create(const struct redis_tls_options *options, char *error, size_t error_size)
{
    struct redis_tls *tls = calloc(1, sizeof *tls);
    if (!tls) {
        snprintf(error, error_size, "out of memory");
        return NULL;
    }
    pthread_mutex_init(&tls->lock, NULL);
    tls->ca_file = strdup(options->ca_file);
    tls->cert_file = strdup(options->cert_file);
    tls->key_file = strdup(options->key_file);
    snprintf(error, error_size, "out of memory");
    if (!tls->ca_file || !tls->cert_file || !tls->key_file || !redis_tls_reload(tls, error, error_size))
        redis_tls_destroy(&tls);
    return tls;
}

void redis_tls_destroy(struct redis_tls **tls_ptr)
{
    struct redis_tls *tls = *tls_ptr;
    if (!tls) return;
    *tls_ptr = NULL;
    SSL_CTX_free(tls->ctx);
    pthread_mutex_destroy(&tls->lock);
    free(tls->ca_file);
    free(tls->cert_file);
    free(tls->key_file);
    free(tls);
}

bool redis_tls_reload(struct redis_tls *tls, char *error, size_t error_size)
{
    SSL_CTX *fresh = make_context(tls, error, error_size);
    if (!fresh) return false;
    pthread_mutex_lock(&tls->lock);
    SSL_CTX *old = tls->ctx;
    tls->ctx = fresh;
    pthread_mutex_unlock(&tls->lock);
    SSL_CTX_free(old);
    return true;
}

/* --- sessions --- */

/* SNI carries names alone; an address is looked for among the certificate's addresses. */
static bool expect_host(SSL *ssl, const char *host)
{
    struct in6_addr address;
    char bare[256];
    snprintf(bare, sizeof bare, "%.*s", (int)strcspn(host, "%"), host); /* fe80::1%eth0 */
    if (inet_pton(AF_INET, bare, &address) == 1 || inet_pton(AF_INET6, bare, &address) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), bare) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

static SSL *make_ssl(struct redis_tls *tls, struct tls_session *session, const char *host)
{
    pthread_mutex_lock(&tls->lock);
    SSL *ssl = SSL_new(tls->ctx);
    pthread_mutex_unlock(&tls->lock);
    if (ssl && expect_host(ssl, host) && SSL_set_app_data(ssl, session) == 1) return ssl;
    SSL_free(ssl);
    return NULL;
}

struct tls_session *tls_session_begin(struct redis_tls *tls, struct redisContext *context, const char *host,
                                      char *why, size_t why_size)
{
    struct tls_session *session = calloc(1, sizeof *session);
    SSL *ssl = session ? make_ssl(tls, session, host) : NULL;
    if (!ssl) {
        snprintf(why, why_size, "TLS: out of memory, or no name to verify");
        free(session);
        return NULL;
    }
    if (redisInitiateSSL(context, ssl) != REDIS_OK) {
        snprintf(why, why_size, "TLS: %s", context->errstr);
        SSL_free(ssl);
        free(session);
        return NULL;
    }
    /* A write takes all that is there, record after record: one record per turn of the loop, and what is left
     * moved forward each time, would make 8 MiB last longer than a command may. */
    SSL_clear_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE);
    session->ssl = ssl;
    return session;
}

void tls_session_end(struct tls_session **session)
{
    free(*session);
    *session = NULL;
}

void tls_session_prepare(const struct tls_session *session)
{
    (void)session;
    ERR_clear_error();
}

bool tls_session_pending(const struct tls_session *session)
{
    return SSL_pending(session->ssl) > 0;
}

bool tls_session_awaits_read(const struct tls_session *session)
{
    return SSL_want_read(session->ssl);
}

bool tls_session_established(const struct tls_session *session)
{
    return SSL_is_init_finished(session->ssl);
}

/* --- why --- */

static const char *verify_text(long code)
{
    static const struct {
        long code;
        const char *text;
    } TEXTS[] = {
        {X509_V_ERR_HOSTNAME_MISMATCH, "the server's certificate is for another host name"},
        {X509_V_ERR_IP_ADDRESS_MISMATCH, "the server's certificate does not name this address"},
        {X509_V_ERR_CERT_HAS_EXPIRED, "the server's certificate, or its CA's, has expired"},
        {X509_V_ERR_CERT_NOT_YET_VALID, "the server's certificate is not valid yet"},
        {X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, "the server's CA is unknown here (redis.tls_ca_file)"},
        {X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, "the server's certificate signs itself (redis.tls_ca_file)"},
        {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, "the server's CA is unknown here (redis.tls_ca_file)"},
        {X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, "the server's CA is unknown here (redis.tls_ca_file)"}};
    for (size_t i = 0; i < sizeof TEXTS / sizeof TEXTS[0]; i++)
        if (TEXTS[i].code == code) return TEXTS[i].text;
    return X509_verify_cert_error_string(code);
}

/* An alert is the server's last word; those about certificates mean ours. */
static void explain_alert(int alert, char *why, size_t size)
{
    const char *text = SSL_alert_desc_string_long(alert);
    bool ours = alert == SSL_AD_BAD_CERTIFICATE || alert == SSL_AD_UNSUPPORTED_CERTIFICATE ||
                alert == SSL_AD_CERTIFICATE_REVOKED || alert == SSL_AD_CERTIFICATE_EXPIRED ||
                alert == SSL_AD_CERTIFICATE_UNKNOWN || alert == SSL_AD_UNKNOWN_CA;
    snprintf(why, size,
             ours ? "TLS: the server does not take our certificate (redis.tls_cert_file): %s"
                  : "TLS: the server ended it: %s",
             text);
}

void tls_session_explain(const struct tls_session *session, bool greeted, char *why, size_t why_size)
{
    long verified = SSL_get_verify_result(session->ssl);
    int reason = ERR_GET_REASON(ERR_peek_error());
    if (verified != X509_V_OK)
        snprintf(why, why_size, "TLS: %s", verify_text(verified));
    else if (session->bare && !greeted)
        snprintf(
            why, why_size,
            "TLS: the server asked for a client certificate, got none (redis.tls_cert_file) and ended it");
    else if (reason >= SSL_AD_REASON_OFFSET)
        explain_alert(reason - SSL_AD_REASON_OFFSET, why, why_size);
    else if (reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_PACKET_LENGTH_TOO_LONG)
        snprintf(why, why_size, "TLS: the server speaks none on this port");
    else if (reason == SSL_R_UNEXPECTED_EOF_WHILE_READING)
        snprintf(why, why_size, "the server closed the connection");
    else if (reason)
        snprintf(why, why_size, "TLS: %s", reason_text());
}

#else

static const char NO_TLS[] = "this build speaks no TLS to Redis";

bool redis_tls_available(void)
{
    return false;
}

struct redis_tls *redis_tls_create(const struct redis_tls_options *options, char *error, size_t error_size)
{
    (void)options;
    snprintf(error, error_size, "%s", NO_TLS);
    return NULL;
}

void redis_tls_destroy(struct redis_tls **tls)
{
    *tls = NULL;
}

bool redis_tls_reload(struct redis_tls *tls, char *error, size_t error_size)
{
    (void)tls;
    snprintf(error, error_size, "%s", NO_TLS);
    return false;
}

struct tls_session *tls_session_begin(struct redis_tls *tls, struct redisContext *context, const char *host,
                                      char *why, size_t why_size)
{
    (void)tls;
    (void)context;
    (void)host;
    snprintf(why, why_size, "%s", NO_TLS);
    return NULL;
}

void tls_session_end(struct tls_session **session)
{
    *session = NULL;
}

void tls_session_prepare(const struct tls_session *session)
{
    (void)session;
}

bool tls_session_pending(const struct tls_session *session)
{
    (void)session;
    return false;
}

bool tls_session_awaits_read(const struct tls_session *session)
{
    (void)session;
    return false;
}

bool tls_session_established(const struct tls_session *session)
{
    (void)session;
    return false;
}

void tls_session_explain(const struct tls_session *session, bool greeted, char *why, size_t why_size)
{
    (void)session;
    (void)greeted;
    (void)why;
    (void)why_size;
}

#endif
