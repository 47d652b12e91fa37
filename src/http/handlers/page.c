/* page: what people see at / on the admin listener: one HTML file (page/, joined by tools/page.sh) that asks
 * this listener for all it shows. The file holds nothing of the daemon's, so no token is asked for; what it
 * asks for does. The policy lets run the very script and style that are in the file, and nothing else. */
#include "common.h"

static const unsigned char PAGE[] = {
#ifdef __cppcheck__ /* takes minutes over a list of that length */
    0
#else
#include "embed/page.html.h"
#endif
};

static const char POLICY[] = {
#include "embed/page.policy.h"
    0};

void handle_page(void *arg, struct exchange *x)
{
    static const struct http_field fields[] = {{"Content-Security-Policy", POLICY},
                                               {"X-Content-Type-Options", "nosniff"},
                                               {"Referrer-Policy", "no-referrer"},
                                               {"Cross-Origin-Resource-Policy", "same-origin"}};
    const struct http_body body = {.bytes = {(const char *)PAGE, sizeof PAGE}};
    (void)arg;
    if (handler_no_query(x))
        exchange_reply(x, 200, "text/html; charset=utf-8", &body, fields, sizeof fields / sizeof fields[0]);
}
