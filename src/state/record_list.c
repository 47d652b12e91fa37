/* record_list: pages of a kind's live values.
 *
 *   redis     SCAN until about `limit` keys are found or SCANS_MAX rounds are over, then their values, a few
 *             calls in flight at a time; what is no JSON object, too large or gone meanwhile is left out.
 *             Cursor "r<SCAN's>". Where servers come and go a SCAN's cursor is good for one of them only:
 *             "r<SCAN's>.<index>.<its name's hash>[p]". Of a cluster one master after the other, in the order
 *             of their indexes; one that is away or has gone is left out, and this page and those after it
 *             are partial (p). So are they behind Sentinel when the master has moved, and begin anew.
 *   local     an index walk on the spool's thread, collected there, at most COLLECTED_MAX bytes, and told on
 *             the loop: the records (embedded), or what the journal has (circuit open; partial). Cursor
 *             "l<last id>".
 *
 * A list that its deadline ended leaves its work to the spool, as a record's does. */
#include "record_private.h"

#include "cache_private.h"

#include "util/hash.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    SCANS_MAX = 32,
    COUNT_MIN = 10,
    READERS = 32,
    COLLECTED_MAX = 4 << 20,
    PREFIX_MAX = 64,
    PATTERN_MAX = 2 * PREFIX_MAX + 32
};

struct reader {
    struct record_list_work *work;
    struct redis_call call;
    struct redis_command commands[2];
    struct slice id;
    char key_bytes[RECORD_KEY_MAX];
};

struct record_list_work {
    struct record_store *store;
    struct record_port *port; /* while list is not NULL */
    struct record_list *list; /* NULL: answered */
    struct record_list_work *next, **prev;
    struct loop_timer timer;
    unsigned kind, limit;

    /* redis */
    struct redis_call call;
    struct redis_command command;
    struct redis_node *node; /* that is scanned; NULL: all have been */
    uint64_t cursor;         /* in it */
    unsigned moves;          /* of the node, when its scan began or went on */
    unsigned scans;
    char cursor_text[24], count[24], value_max[24], pattern[PATTERN_MAX];
    size_t key_prefix_len;
    struct buf ids; /* a length byte and the id, … (ids have at most 256 bytes: length - 1) */
    size_t next_id;
    unsigned found, busy;
    enum status failed;
    struct reader *readers;

    /* spool */
    struct spool_op spool_op;
    bool posted, cut;
    char after[ID_LEN_MAX], last[ID_LEN_MAX];
    size_t after_len, last_len;
    unsigned visited;
    int64_t now_ms;
    struct buf rows;
};

/* --- ends --- */

static void work_free(struct record_list_work *w)
{
    buf_deinit(&w->ids);
    buf_deinit(&w->rows);
    free(w->readers);
    free(w);
}

static void finish(struct record_list_work *w, enum status status, const char *detail)
{
    struct record_list *list = w->list;
    loop_timer_stop(&w->timer);
    *w->prev = w->next;
    if (w->next) w->next->prev = w->prev;
    w->list = NULL;
    list->work = NULL;
    list->status = status;
    list->detail = detail;
    if (status != STATUS_OK) list->next[0] = 0;
    list->done(list);
    if (!w->posted) work_free(w);
}

/* --- nodes --- */

static struct redis_topology *topology_of(const struct record_list_work *w)
{
    return record_store_options(w->store)->redis;
}

static bool is_cluster(const struct record_list_work *w)
{
    return redis_topology_options(topology_of(w))->url->kind == REDIS_CLUSTER;
}

/* The server at a node may be another one by the next page. */
static bool may_move(const struct record_list_work *w)
{
    return is_cluster(w) || redis_topology_options(topology_of(w))->url->kind == REDIS_SENTINEL;
}

/* From index `from` on; those that are away are left out. */
static void begin_node(struct record_list_work *w, unsigned from)
{
    w->node = NULL;
    w->cursor = 0;
    for (unsigned i = from; i < redis_topology_count(topology_of(w)) && !w->node; i++) {
        struct redis_node *node = redis_topology_at(topology_of(w), i);
        if (!redis_node_serves(node)) continue;
        if (breaker_allows(redis_node_breaker(node)))
            w->node = node;
        else
            w->list->partial = true;
    }
    if (w->node) w->moves = redis_node_moves(w->node);
}

static void next_node(struct record_list_work *w)
{
    begin_node(w, redis_node_options(w->node)->index + 1);
}

/* What the cursor came from is not there any more. */
static bool begin_anew_if_moved(struct record_list_work *w)
{
    unsigned moves = redis_node_moves(w->node);
    if (moves == w->moves) return false;
    w->moves = moves;
    w->cursor = 0;
    w->list->partial = true;
    return true;
}

static uint32_t hash_of(const struct redis_node *node)
{
    static const struct hash_seed SEED = {0, 0}; /* whoever forges a cursor gets another page, no more */
    const char *name = redis_node_name(node);
    return (uint32_t)hash_bytes(&SEED, name, strlen(name));
}

static void print_cursor(const struct record_list_work *w, char *out, size_t size)
{
    int len = snprintf(out, size, "r%llu", (unsigned long long)w->cursor);
    if (may_move(w))
        snprintf(out + len, size - (size_t)len, ".%u.%08x%s", redis_node_options(w->node)->index,
                 hash_of(w->node), w->list->partial ? "p" : "");
}

/* A number that ends at `after`, which is passed over. */
static bool take_number(const char **at, int base, char after, unsigned long long *out)
{
    char *end;
    if (!isxdigit((unsigned char)**at)) return false;
    errno = 0;
    *out = strtoull(*at, &end, base);
    if (errno || *end != after) return false;
    *at = end + (after != 0);
    return true;
}

/* False: no cursor of this kind. Where its node has gone the listing goes on with the next one. */
static bool parse_cursor(struct record_list_work *w, struct slice cursor)
{
    char text[RECORD_CURSOR_SIZE];
    const char *at = text + 1;
    unsigned long long scan, index = 0, hash = 0;
    if (cursor.len >= sizeof text) return false;
    memcpy(text, cursor.ptr, cursor.len);
    text[cursor.len] = 0;
    if (may_move(w)) {
        bool partial = text[cursor.len - 1] == 'p';
        if (partial) text[cursor.len - 1] = 0;
        if (!take_number(&at, 10, '.', &scan) || !take_number(&at, 10, '.', &index) ||
            !take_number(&at, 16, 0, &hash) || index >= REDIS_NODES_MAX)
            return false;
        w->list->partial = partial;
    } else if (!take_number(&at, 10, 0, &scan)) {
        return false;
    }
    begin_node(w, (unsigned)index);
    bool same = w->node && redis_node_options(w->node)->index == index;
    if (same && (!may_move(w) || hash_of(w->node) == hash))
        w->cursor = scan;
    else
        w->list->partial = true;
    return true;
}

/* --- redis --- */

static void start_local(struct record_list_work *w);
static void scan(struct record_list_work *w);
static void read_values(struct record_list_work *w);

static void end_of_values(struct record_list_work *w)
{
    if (w->failed != STATUS_OK) {
        finish(w, w->failed, "Redis did not give the values that it listed");
        return;
    }
    if (w->node) {
        (void)begin_anew_if_moved(w);
        print_cursor(w, w->list->next, sizeof w->list->next);
    }
    finish(w, STATUS_OK, "");
}

/* One of a cluster's nodes does not answer: the others' values are worth telling. */
static void lose_value(struct record_list_work *w, enum redis_outcome outcome)
{
    if (outcome == REDIS_CALL_REFUSED)
        w->failed = STATUS_REDIS_REFUSED;
    else if (is_cluster(w))
        w->list->partial = true;
    else
        w->failed = STATUS_REDIS_UNAVAILABLE;
}

static void on_value(struct redis_call *call)
{
    static const int64_t PTTL_MAX = INT64_MAX / 4;
    struct reader *r = call->arg;
    struct record_list_work *w = r->work;
    w->busy--;
    r->work = NULL;
    const struct record_store_options *options = record_store_options(w->store);
    if (call->outcome == REDIS_CALL_OK) {
        int64_t pttl_ms = call->replies[0].integer;
        struct slice value = call->replies[1].text;
        bool expires = pttl_ms >= 0 && pttl_ms < PTTL_MAX;
        if (pttl_ms != -2 && value.len <= options->value_max && record_is_object(value) &&
            w->failed == STATUS_OK)
            w->list->each(w->list, r->id, value, expires ? record_wall_ms(w->store) + pttl_ms : 0);
    } else if (call->outcome != REDIS_CALL_FOREIGN) {
        lose_value(w, call->outcome);
    }
    read_values(w);
}

static bool next_id(struct record_list_work *w, struct slice *out)
{
    if (w->next_id == w->ids.len || w->failed != STATUS_OK) return false;
    out->len = (size_t)(unsigned char)w->ids.ptr[w->next_id] + 1;
    out->ptr = w->ids.ptr + w->next_id + 1;
    w->next_id += 1 + out->len;
    return true;
}

static void read_next(struct record_list_work *w, struct reader *r)
{
    while (next_id(w, &r->id)) {
        struct slice key = record_key(w->store, w->kind, r->id, r->key_bytes);
        cache_read_commands(r->commands, key, slice_of(w->value_max));
        r->call = (struct redis_call){.commands = r->commands,
                                      .count = 2,
                                      .deadline_us = w->list->deadline_us,
                                      .done = on_value,
                                      .arg = r};
        if (redis_pool_submit(w->port->pool, &r->call)) {
            r->work = w;
            w->busy++;
            return;
        }
        lose_value(w, REDIS_CALL_UNAVAILABLE);
    }
}

static void read_values(struct record_list_work *w)
{
    for (size_t i = 0; i < READERS; i++)
        if (!w->readers[i].work) read_next(w, &w->readers[i]);
    if (w->busy == 0) end_of_values(w);
}

static void take_keys(struct record_list_work *w, const struct redis_reply *keys)
{
    struct redis_reply key;
    for (size_t i = 0; redis_reply_element(keys, i, &key); i++) {
        if (key.type != REDIS_TYPE_STRING || key.text.len <= w->key_prefix_len) continue;
        size_t len = key.text.len - w->key_prefix_len;
        if (len > ID_LEN_MAX) continue; /* no id of ours */
        buf_append_char(&w->ids, (char)(len - 1));
        buf_append(&w->ids, key.text.ptr + w->key_prefix_len, len);
        w->found++;
    }
}

static void go_on(struct record_list_work *w)
{
    if (w->node && w->found < w->limit && w->scans < SCANS_MAX)
        scan(w);
    else if (w->ids.failed || !(w->readers = calloc(READERS, sizeof w->readers[0])))
        finish(w, STATUS_OVERLOADED, "out of memory");
    else
        read_values(w);
}

/* The node does not answer: what is left of it is not listed. Where it was the only one, nothing is. */
static void skip_node(struct record_list_work *w)
{
    bool first = w->list->cursor.len == 0 && w->found == 0;
    if (is_cluster(w)) {
        w->list->partial = true;
        next_node(w);
        if (w->node || !first) {
            go_on(w);
            return;
        }
    }
    if (first && (is_cluster(w) || w->scans == 1))
        start_local(w);
    else
        finish(w, STATUS_REDIS_UNAVAILABLE, "Redis did not answer");
}

static void on_scanned(struct redis_call *call)
{
    struct record_list_work *w = call->arg;
    struct redis_reply cursor, keys;
    if (call->outcome == REDIS_CALL_REFUSED) {
        finish(w, STATUS_REDIS_REFUSED, call->error);
        return;
    }
    if (call->outcome != REDIS_CALL_OK) {
        skip_node(w);
        return;
    }
    if (!redis_reply_element(&call->replies[0], 0, &cursor) ||
        !redis_reply_element(&call->replies[0], 1, &keys) || cursor.text.len >= sizeof w->cursor_text) {
        finish(w, STATUS_INTERNAL, "SCAN's answer has another shape");
        return;
    }
    memcpy(w->cursor_text, cursor.text.ptr, cursor.text.len);
    w->cursor_text[cursor.text.len] = 0;
    w->cursor = strtoull(w->cursor_text, NULL, 10);
    take_keys(w, &keys);
    if (!begin_anew_if_moved(w) && !w->cursor) next_node(w);
    go_on(w);
}

static void scan(struct record_list_work *w)
{
    unsigned count = w->limit - w->found;
    w->scans++;
    snprintf(w->cursor_text, sizeof w->cursor_text, "%llu", (unsigned long long)w->cursor);
    snprintf(w->count, sizeof w->count, "%u", count < COUNT_MIN ? COUNT_MIN : count);
    w->command = (struct redis_command){.argc = 6,
                                        .argv = {SLICE_LITERAL("SCAN"), slice_of(w->cursor_text),
                                                 SLICE_LITERAL("MATCH"), slice_of(w->pattern),
                                                 SLICE_LITERAL("COUNT"), slice_of(w->count)},
                                        .types = REDIS_TYPE_ARRAY};
    w->call = (struct redis_call){.commands = &w->command,
                                  .count = 1,
                                  .node = w->node,
                                  .deadline_us = w->list->deadline_us,
                                  .done = on_scanned,
                                  .arg = w};
    if (!redis_pool_submit(w->port->pool, &w->call)) skip_node(w);
}

/* {prefix}:{name}:* with the prefix's glob characters escaped. */
static void make_pattern(struct record_list_work *w)
{
    const struct record_store_options *options = record_store_options(w->store);
    const char *name = options->rules[w->kind].name;
    assert(strlen(options->prefix) <= PREFIX_MAX);
    char *at = w->pattern;
    for (const char *p = options->prefix; *p; p++) {
        if (strchr("*?[]\\^", *p)) *at++ = '\\';
        *at++ = *p;
    }
    snprintf(at, sizeof w->pattern - (size_t)(at - w->pattern), ":%s:*", name);
    w->key_prefix_len = strlen(options->prefix) + strlen(name) + 2;
}

/* --- local --- */

/* Before each id and value in `rows`. */
struct row {
    size_t id_len, value_len;
    int64_t expires_ms;
};

static void collect(struct record_list_work *w, struct slice id, struct slice value, int64_t expires_ms)
{
    if (w->cut) return;
    struct row row = {id.len, value.len, expires_ms};
    if (w->rows.len && w->rows.len + sizeof row + id.len + value.len > COLLECTED_MAX) {
        w->cut = true; /* the next page begins with it */
        return;
    }
    memcpy(w->last, id.ptr, id.len);
    w->last_len = id.len;
    if (!value.ptr || (expires_ms && expires_ms <= w->now_ms)) return;
    buf_append(&w->rows, &row, sizeof row);
    buf_append_slice(&w->rows, id);
    buf_append_slice(&w->rows, value);
}

static void on_record(void *arg, const struct db_record *record)
{
    collect(arg, record->id, record->value, record->expires_ms);
}

static void on_entry(void *arg, const struct db_entry *entry)
{
    collect(arg, entry->id, entry->copy, entry->expires_ms);
}

static enum db_result run_list(struct db *db, void *arg)
{
    struct record_list_work *w = arg;
    struct slice after = {w->after, w->after_len};
    buf_clear(&w->rows);
    w->cut = false;
    w->last_len = 0;
    w->now_ms = record_wall_ms(w->store);
    if (record_store_embedded(w->store))
        return db_record_list(db, w->kind, after, w->limit, w->now_ms, on_record, w, &w->visited);
    return db_journal_list(db, w->kind, after, w->limit, on_entry, w, &w->visited);
}

static void tell_rows(struct record_list_work *w)
{
    struct row row;
    for (size_t at = 0; at < w->rows.len; at += row.id_len + row.value_len) {
        memcpy(&row, w->rows.ptr + at, sizeof row);
        at += sizeof row;
        w->list->each(w->list, (struct slice){w->rows.ptr + at, row.id_len},
                      (struct slice){w->rows.ptr + at + row.id_len, row.value_len}, row.expires_ms);
    }
}

static void on_listed(struct spool_op *op)
{
    struct record_list_work *w = op->arg;
    w->posted = false;
    if (!w->list) {
        work_free(w);
    } else if (!op->committed || w->rows.failed) {
        finish(w, STATUS_SPOOL_UNAVAILABLE, "the local store could not be read");
    } else {
        tell_rows(w);
        if (w->cut || w->visited >= w->limit)
            snprintf(w->list->next, sizeof w->list->next, "l%.*s", (int)w->last_len, w->last);
        finish(w, STATUS_OK, "");
    }
}

static void on_deadline(void *arg)
{
    finish(arg, STATUS_SPOOL_UNAVAILABLE, "the spool did not answer in time");
}

static void start_local(struct record_list_work *w)
{
    w->list->local = true;
    w->list->partial = !record_store_embedded(w->store);
    w->spool_op =
        (struct spool_op){.reads = true, .run = run_list, .done = on_listed, .arg = w, .loop = w->port->loop};
    w->posted = true;
    loop_timer_start(w->port->loop, &w->timer, w->list->deadline_us, on_deadline, w);
    if (spool_submit(record_store_options(w->store)->spool, &w->spool_op)) return;
    w->posted = false;
    finish(w, STATUS_SPOOL_UNAVAILABLE, "the spool takes nothing in");
}

/* --- start --- */

/* Where it goes on. A listing ends where it began: the two stores have no order in common. */
static void start(struct record_list_work *w)
{
    struct slice cursor = w->list->cursor;
    bool embedded = record_store_embedded(w->store);
    if (!embedded) begin_node(w, 0);
    bool away = embedded || !w->node;
    if (cursor.len == 0) {
        if (away)
            start_local(w);
        else
            scan(w);
    } else if (cursor.ptr[0] == 'l' && away && cursor.len <= 1 + ID_LEN_MAX) {
        w->after_len = cursor.len - 1;
        memcpy(w->after, cursor.ptr + 1, w->after_len);
        start_local(w);
    } else if (!embedded && cursor.ptr[0] == 'r' && parse_cursor(w, cursor)) {
        if (away)
            finish(w, STATUS_REDIS_UNAVAILABLE, "the listing began on Redis, which is away");
        else
            go_on(w);
    } else {
        finish(w, STATUS_INVALID_ARGUMENT, "cursor: not one of this listing; begin anew");
    }
}

void record_list_start(struct record_port *port, struct record_list *list)
{
    struct record_list_work *w = list->work = calloc(1, sizeof *w);
    list->status = STATUS_OK;
    list->detail = "";
    list->next[0] = 0;
    list->partial = list->local = false;
    if (!w) {
        list->status = STATUS_OVERLOADED;
        list->detail = "out of memory";
        list->done(list);
        return;
    }
    w->store = port->store;
    w->port = port;
    w->list = list;
    w->kind = list->kind;
    w->limit = list->limit;
    snprintf(w->value_max, sizeof w->value_max, "%zu", record_store_options(port->store)->value_max);
    make_pattern(w);
    w->next = port->open_lists;
    w->prev = &port->open_lists;
    if (w->next) w->next->prev = &w->next;
    port->open_lists = w;
    start(w);
}

void record_lists_close(struct record_port *port)
{
    while (port->open_lists) {
        struct record_list_work *w = port->open_lists;
        finish(w, STATUS_SPOOL_UNAVAILABLE, "the daemon is stopping");
        assert(port->open_lists != w);
    }
}
