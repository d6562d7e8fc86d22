/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Only what the series may use: coroutines. */
#ifndef SERIES_QEMU_COROUTINE_H
#define SERIES_QEMU_COROUTINE_H

Coroutine *qemu_coroutine_create(void (*entry)(void *), void *opaque);
void qemu_coroutine_enter(Coroutine *co);
Coroutine *qemu_coroutine_self(void);
void coroutine_fn qemu_coroutine_yield(void);
bool qemu_coroutine_entered(Coroutine *co);
bool qemu_in_coroutine(void);

#endif
