/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Only what the series may use: thread-locals. */
#ifndef SERIES_QEMU_COROUTINE_TLS_H
#define SERIES_QEMU_COROUTINE_TLS_H

#define QEMU_DEFINE_STATIC_CO_TLS(type, var)                            \
    static __thread type co_tls_##var;                                  \
    static G_GNUC_UNUSED type get_##var(void)                           \
    {                                                                   \
        return co_tls_##var;                                            \
    }                                                                   \
    static G_GNUC_UNUSED void set_##var(type v)                         \
    {                                                                   \
        co_tls_##var = v;                                               \
    }                                                                   \
    static G_GNUC_UNUSED type *get_ptr_##var(void)                      \
    {                                                                   \
        return &co_tls_##var;                                           \
    }

#endif
