/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Scoped locking, and "a lock of whatever type" as an argument.
 *
 *     QEMU_LOCK_GUARD(&s->lock);             until the end of the scope
 *     WITH_QEMU_LOCK_GUARD(&s->lock) { }     for one block
 *
 * for QemuMutex, QemuRecMutex, QemuSpin and CoMutex (the latter in coroutines
 * only).  return, break and goto out of the scope unlock as well.
 */
#ifndef QEMU_LOCKABLE_H
#define QEMU_LOCKABLE_H

#include "qemu/coroutine-core.h"
#include "qemu/thread.h"

typedef struct QemuLockable {
    void *object;               /* NULL: no lock */
    void (*lock)(void *object);
    void (*unlock)(void *object);
} QemuLockable;

#define QEMU_LOCKABLE_OPS(name)                                 \
    static inline void qemu_lockable_lock_##name(void *object)  \
    {                                                           \
        qemu_##name##_lock(object);                             \
    }                                                           \
    static inline void qemu_lockable_unlock_##name(void *object) \
    {                                                           \
        qemu_##name##_unlock(object);                           \
    }

QEMU_LOCKABLE_OPS(mutex)
QEMU_LOCKABLE_OPS(rec_mutex)
QEMU_LOCKABLE_OPS(spin)
QEMU_LOCKABLE_OPS(co_mutex)

#undef QEMU_LOCKABLE_OPS

#define QEMU_LOCKABLE_INIT(x, name)             \
    ((QemuLockable) {                           \
        .object = (void *)(x),                  \
        .lock = qemu_lockable_lock_##name,      \
        .unlock = qemu_lockable_unlock_##name,  \
    })

/* @x: a pointer to one of the types below, or NULL. */
#define QEMU_MAKE_LOCKABLE(x)                                   \
    _Generic((x),                                               \
             QemuLockable *: qemu_lockable_copy((void *)(x)),   \
             void *: (QemuLockable) { NULL, NULL, NULL },       \
             QemuMutex *: QEMU_LOCKABLE_INIT(x, mutex),         \
             QemuRecMutex *: QEMU_LOCKABLE_INIT(x, rec_mutex),  \
             QemuSpin *: QEMU_LOCKABLE_INIT(x, spin),           \
             CoMutex *: QEMU_LOCKABLE_INIT(x, co_mutex))

static inline QemuLockable qemu_lockable_copy(void *lockable)
{
    return *(QemuLockable *)lockable;
}

static inline void qemu_lockable_lock(QemuLockable *x)
{
    if (x->object) {
        x->lock(x->object);
    }
}

static inline void qemu_lockable_unlock(QemuLockable *x)
{
    if (x->object) {
        x->unlock(x->object);
    }
}

static inline QemuLockable qemu_lockable_auto_lock(QemuLockable x)
{
    qemu_lockable_lock(&x);
    return x;
}

#define QEMU_LOCK_GUARD_NAME__(n) qemu_lock_guard_##n
#define QEMU_LOCK_GUARD_NAME_(n) QEMU_LOCK_GUARD_NAME__(n)

#define QEMU_LOCK_GUARD(x)                                              \
    QemuLockable QEMU_LOCK_GUARD_NAME_(__COUNTER__)                     \
        __attribute__((cleanup(qemu_lockable_unlock), unused)) =        \
        qemu_lockable_auto_lock(QEMU_MAKE_LOCKABLE(x))

/* A loop of one turn: break leaves the block, and unlocks. */
#define WITH_QEMU_LOCK_GUARD_(x, var)                                   \
    for (struct { QemuLockable l; bool once; } var                      \
             __attribute__((cleanup(qemu_lockable_unlock_first))) =     \
             { qemu_lockable_auto_lock(QEMU_MAKE_LOCKABLE(x)), true };  \
         var.once; var.once = false)

#define WITH_QEMU_LOCK_GUARD(x) \
    WITH_QEMU_LOCK_GUARD_((x), QEMU_LOCK_GUARD_NAME_(__COUNTER__))

/* @x: a structure whose first member is a QemuLockable. */
static inline void qemu_lockable_unlock_first(void *x)
{
    qemu_lockable_unlock(x);
}

#endif
