/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * TLS by GnuTLS: credentials, which users make as objects, and the server's
 * end of a connection.  Main thread, unless told otherwise.
 */
#ifndef CRYPTO_TLS_H
#define CRYPTO_TLS_H

#include <sys/uio.h>

typedef enum TLSCredsKind {
    TLS_CREDS_ANON, TLS_CREDS_PSK, TLS_CREDS_X509,
} TLSCredsKind;

typedef struct TLSCreds {
    int refcount;               /* atomic */
    char *id;
    TLSCredsKind kind;
    bool server;                /* which end they are for */
    bool verify_peer;
    char *dir;                  /* where the files are */
    char *username;             /* of a client with PSK */
    char *priority;             /* NULL: the default */
    bool sanity_check;          /* look at the certificates first */
    char *passwordid;           /* the secret that opens the key, or NULL */
    void *server_creds;         /* GnuTLS', of a server */
} TLSCreds;

/*
 * Make credentials that are found by their id; @like has their members, which
 * are copied.  @password (NULL: none) opens the key.  A server's files are read
 * now.  NULL with @errp set.
 */
TLSCreds *tls_creds_new(const TLSCreds *like, const char *password,
                        Error **errp);
/* They are not found any more, and freed when nobody uses them. */
void tls_creds_remove(TLSCreds *creds);
/* A new reference to those for one end; NULL with @errp set. */
TLSCreds *tls_creds_get(const char *id, bool server, Error **errp);
/* Any thread. */
TLSCreds *tls_creds_ref(TLSCreds *creds);
/* NULL is fine. */
void tls_creds_unref(TLSCreds *creds);
/* "anon", "psk", "x509" */
const char *tls_creds_kind(const TLSCreds *creds);
/* The path of a file of theirs, to be freed. */
char *tls_creds_path(const TLSCreds *creds, const char *name);

/*
 * The server's end of one connection, over a non-blocking socket.  Functions
 * return -EAGAIN when they have to wait for the socket; *@write says for what.
 * One thread at a time.
 */
typedef struct TLSSession TLSSession;

/* NULL with @errp set on failure. */
TLSSession *tls_session_new(TLSCreds *creds, int fd, Error **errp);
void tls_session_free(TLSSession *s);
/* 0: done, the peer has been verified.  -errno with @errp set otherwise. */
int tls_session_handshake(TLSSession *s, bool *write, Error **errp);
/*
 * Who the peer is: the distinguished name of its certificate, or its name
 * with PSK; NULL: not known.
 */
const char *tls_session_identity(const TLSSession *s);
/* Bytes, 0 at the end, or -errno. */
ssize_t tls_session_read(TLSSession *s, void *buf, size_t len, bool *write);
/* After -EAGAIN it must be called with the same bytes again. */
ssize_t tls_session_write(TLSSession *s, const void *buf, size_t len,
                          bool *write);
/* Tell the peer that no more comes, if the socket takes it at once. */
void tls_session_bye(TLSSession *s);

#endif
