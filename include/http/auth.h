/* auth: who may speak to the daemon. The bearer token (re-read when its file changes) and the Host and Origin
 * rules that keep web pages out. Any thread. */
#ifndef PHOENIX_HTTP_AUTH_H
#define PHOENIX_HTTP_AUTH_H

#include "util/slice.h"
#include "util/status.h"

#include <sys/socket.h>

struct auth;

/* token_file "": no token. allowed_hosts: names or addresses separated by blanks or commas. NULL with a line
 * in `error` when the file cannot be read or holds no token (blanks around it are cut; 1 to 4096 bytes). */
struct auth *auth_create(const char *token_file, const char *allowed_hosts, char *error, size_t error_size);
void auth_destroy(struct auth **a);
/* Reads the token file again; on failure the old token stays and false is returned with a line in `error`.
 * One thread calls this and the next. */
bool auth_reload(struct auth *a, char *error, size_t error_size);
/* Whether the file is another, or was written, removed or opened to us, since it was last read or found to be
 * unreadable. A look at the file system. */
bool auth_file_changed(const struct auth *a);

/* Whether a token is asked for at all; never changes. */
bool auth_token_needed(const struct auth *a);
/* True where none is needed. */
bool auth_token_ok(struct auth *a, struct slice authorization);
/* Host (with or without port) is loopback (localhost, 127.0.0.0/8, ::1, *.localhost) or allowed. */
bool auth_host_ok(const struct auth *a, struct slice host);
/* Absent Origin is fine; a present one must be http(s):// and an allowed or loopback host. `null` is foreign.
 */
bool auth_origin_ok(const struct auth *a, struct slice origin);
/* Names the very host:port that the request came for: a page of ours, by whatever name it was reached. Proves
 * nothing without a token, for a foreign name may have been made to point here. */
bool auth_origin_own(struct slice origin, struct slice host);
/* An address of this machine's loopback interface; also ::ffff:127.0.0.1. */
bool auth_peer_loopback(const struct sockaddr *peer);
/* Exactly one well-formed host[:port]: what a Host header may hold at all. */
bool auth_host_wellformed(struct slice host);

#endif
