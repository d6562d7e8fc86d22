/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Certificates that cannot work are better refused when they are loaded. */
#ifndef CRYPTO_TLS_CHECK_H
#define CRYPTO_TLS_CHECK_H

#include "crypto/tls.h"

/*
 * The times of all certificates of @creds, and that our own one is signed by
 * the CA.  A client may have none.  False with @errp set.
 */
bool tls_check_certificates(const TLSCreds *creds, Error **errp);

#endif
