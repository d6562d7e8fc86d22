/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A client that puts load on an export: what its files share.
 *
 * One thread serves all connections, so that it takes less of a processor than
 * any server that it measures.  A driver knows a protocol; the loop in
 * export-load.c decides when a request begins, and measures.
 */
#ifndef TESTS_BENCH_EXPORT_LOAD_H
#define TESTS_BENCH_EXPORT_LOAD_H

#include "../../qemu-img/latency.h"

typedef struct Load Load;
typedef struct LoadConn LoadConn;
typedef struct LoadDriver LoadDriver;

typedef struct LoadOptions {
    unsigned depth;             /* requests in flight of each connection */
    unsigned connections;
    unsigned block_size;        /* bytes */
    unsigned read_percent;
    bool sequential;
    bool simple;                /* NBD: no structured replies */
    uint64_t range;             /* bytes at the start of the disk; 0: all */
    uint64_t seed;
    double seconds;             /* 0: until a signal comes */
    double warmup;              /* seconds that are not measured */
    unsigned stall;             /* so many without an answer: it hangs */
    double rate;                /* requests per second of all; 0: no limit */
    int server_pid;             /* whose processor time is counted; 0: none */
    bool json;
} LoadOptions;

/* A request; @slot is its number within the connection. */
typedef struct LoadRequest {
    LoadConn *conn;
    unsigned slot;
    bool write;
    uint64_t offset;
    int64_t begun;              /* ns: when it was due */
    bool failed;                /* set by the driver */
} LoadRequest;

/* A connection, or a queue.  A driver's own structure begins with this. */
struct LoadConn {
    Load *load;
    unsigned index;
    int fd;                     /* the loop waits for this one */
    bool want_write;            /* and also until it is writable */
    uint64_t position;          /* of the next sequential request */
    LoadRequest *requests;      /* as many as the depth */
    unsigned *free;             /* slots */
    unsigned n_free;
};

/*
 * A driver has either open(), start(), flush() and receive(), or does all in
 * threads of its own: then it has begin(), collect() and end().
 */
struct LoadDriver {
    const char *prefix;         /* of its targets */
    /*
     * Connect to @target, without the prefix, as connection @index, and set
     * load->size.  Failures end the program.
     */
    LoadConn *(*open)(Load *load, const char *target, unsigned index);
    /* Add a request to those that flush() sends.  It does not wait. */
    void (*start)(LoadConn *conn, LoadRequest *req);
    /* Send what was started, as far as that is possible now. */
    void (*flush)(LoadConn *conn);
    /* The descriptor is readable: call load_done() for each that has ended. */
    void (*receive)(LoadConn *conn);
    /* Nothing is in flight: take leave.  Optional. */
    void (*close)(LoadConn *conn);

    /* Begin; it calls load_set_size() before the first request. */
    void (*begin)(Load *load, const char *target);
    /* Move what was measured up to now to load->latency and load->errors. */
    void (*collect)(Load *load);
    void (*end)(Load *load);
};

struct Load {
    LoadOptions opts;
    const LoadDriver *driver;
    LoadConn **conns;
    uint64_t size;              /* of the disk, bytes; set by open() */
    uint64_t random;
    uint8_t *data;              /* of a block that is written */
    int64_t now;                /* ns, once for each pass of the loop */
    int64_t next_due;           /* ns, with a rate */
    int64_t last_done;          /* ns */
    uint64_t errors;
    LatencyHistogram latency;
};

extern const LoadDriver load_file;
extern const LoadDriver load_nbd;
extern const LoadDriver load_vhost;

/* @req has ended. */
void load_done(LoadRequest *req);
/* A message, and the end of the program. */
void G_GNUC_NORETURN G_GNUC_PRINTF(1, 2) load_fail(const char *fmt, ...);
/* The disk has so many bytes: check the range. */
void load_set_size(Load *l, uint64_t size);
/* A xorshift generator: the same seed gives the same requests. */
uint64_t load_random(uint64_t *state);
int64_t load_clock_ns(void);
/* A connected UNIX socket. */
int load_connect_unix(const char *path);

#endif
