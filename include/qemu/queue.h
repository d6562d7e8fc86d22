/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Intrusive lists.
 *
 *   QSLIST    singly linked, insertion at the head; the _ATOMIC forms are a
 *             lock-free stack (push from any thread, take all at once)
 *   QSIMPLEQ  singly linked with a tail pointer: a FIFO queue
 *   QLIST     doubly linked, one head pointer: cheap removal of any element
 *   QTAILQ    doubly linked with a tail pointer
 *
 * No list locks anything.  The _SAFE loops allow removal of the element that
 * they stand on.
 */
#ifndef QEMU_QUEUE_H
#define QEMU_QUEUE_H

#include "qemu/atomic.h"

/* QSLIST */
#define QSLIST_HEAD(name, type) struct name { struct type *slh_first; }
#define QSLIST_HEAD_INITIALIZER(head) { NULL }
#define QSLIST_ENTRY(type) struct { struct type *sle_next; }
#define QSLIST_INIT(head) do {                                               \
    (head)->slh_first = NULL;                                                \
} while (0)
#define QSLIST_FIRST(head) ((head)->slh_first)
#define QSLIST_NEXT(elm, field) ((elm)->field.sle_next)
#define QSLIST_EMPTY(head) ((head)->slh_first == NULL)
#define QSLIST_INSERT_HEAD(head, elm, field) do {                            \
    (elm)->field.sle_next = (head)->slh_first;                               \
    (head)->slh_first = (elm);                                               \
} while (0)
#define QSLIST_INSERT_AFTER(listelm, elm, field) do {                        \
    (elm)->field.sle_next = (listelm)->field.sle_next;                       \
    (listelm)->field.sle_next = (elm);                                       \
} while (0)
/* Push; pairs with QSLIST_MOVE_ATOMIC(). */
#define QSLIST_INSERT_HEAD_ATOMIC(head, elm, field) do {                     \
    typeof(elm) old_first_ = qatomic_read(&(head)->slh_first), seen_;        \
    for (;;) {                                                               \
        (elm)->field.sle_next = old_first_;                                  \
        seen_ = qatomic_cmpxchg(&(head)->slh_first, old_first_, (elm));      \
        if (seen_ == old_first_) {                                           \
            break;                                                           \
        }                                                                    \
        old_first_ = seen_;                                                  \
    }                                                                        \
} while (0)
/* Take all of @src into @dest; pairs with QSLIST_INSERT_HEAD_ATOMIC(). */
#define QSLIST_MOVE_ATOMIC(dest, src) do {                                   \
    (dest)->slh_first = qatomic_xchg(&(src)->slh_first, NULL);               \
} while (0)
#define QSLIST_REMOVE_HEAD(head, field) do {                                 \
    typeof((head)->slh_first) rm_ = (head)->slh_first;                       \
    (head)->slh_first = rm_->field.sle_next;                                 \
    rm_->field.sle_next = NULL;                                              \
} while (0)
#define QSLIST_REMOVE(head, elm, type, field) do {                           \
    struct type **link_ = &(head)->slh_first;                                \
    while (*link_ != (elm)) {                                                \
        link_ = &(*link_)->field.sle_next;                                   \
    }                                                                        \
    *link_ = (elm)->field.sle_next;                                          \
    (elm)->field.sle_next = NULL;                                            \
} while (0)
#define QSLIST_FOREACH(var, head, field)                                     \
    for ((var) = (head)->slh_first; (var); (var) = (var)->field.sle_next)
#define QSLIST_FOREACH_SAFE(var, head, field, tvar)                          \
    for ((var) = (head)->slh_first;                                          \
         (var) && ((tvar) = (var)->field.sle_next, 1);                       \
         (var) = (tvar))

/* QSIMPLEQ */
#define QSIMPLEQ_HEAD(name, type)                                            \
    struct name { struct type *sqh_first; struct type **sqh_last; }
#define QSIMPLEQ_HEAD_INITIALIZER(head) { NULL, &(head).sqh_first }
#define QSIMPLEQ_ENTRY(type) struct { struct type *sqe_next; }
#define QSIMPLEQ_INIT(head) do {                                             \
    (head)->sqh_first = NULL;                                                \
    (head)->sqh_last = &(head)->sqh_first;                                   \
} while (0)
#define QSIMPLEQ_FIRST(head) ((head)->sqh_first)
#define QSIMPLEQ_NEXT(elm, field) ((elm)->field.sqe_next)
#define QSIMPLEQ_EMPTY(head) ((head)->sqh_first == NULL)
#define QSIMPLEQ_EMPTY_ATOMIC(head)                                          \
    (qatomic_read(&(head)->sqh_first) == NULL)
#define QSIMPLEQ_INSERT_HEAD(head, elm, field) do {                          \
    (elm)->field.sqe_next = (head)->sqh_first;                               \
    if ((elm)->field.sqe_next == NULL) {                                     \
        (head)->sqh_last = &(elm)->field.sqe_next;                           \
    }                                                                        \
    (head)->sqh_first = (elm);                                               \
} while (0)
#define QSIMPLEQ_INSERT_TAIL(head, elm, field) do {                          \
    (elm)->field.sqe_next = NULL;                                            \
    *(head)->sqh_last = (elm);                                               \
    (head)->sqh_last = &(elm)->field.sqe_next;                               \
} while (0)
#define QSIMPLEQ_REMOVE_HEAD(head, field) do {                               \
    typeof((head)->sqh_first) rm_ = (head)->sqh_first;                       \
    (head)->sqh_first = rm_->field.sqe_next;                                 \
    if ((head)->sqh_first == NULL) {                                         \
        (head)->sqh_last = &(head)->sqh_first;                               \
    }                                                                        \
    rm_->field.sqe_next = NULL;                                              \
} while (0)
/* Cut everything up to and including @elm off the head of the queue. */
#define QSIMPLEQ_SPLIT_AFTER(head, elm, field, removed) do {                 \
    QSIMPLEQ_INIT(removed);                                                  \
    (removed)->sqh_first = (head)->sqh_first;                                \
    (removed)->sqh_last = &(elm)->field.sqe_next;                            \
    (head)->sqh_first = (elm)->field.sqe_next;                               \
    if ((head)->sqh_first == NULL) {                                         \
        (head)->sqh_last = &(head)->sqh_first;                               \
    }                                                                        \
    (elm)->field.sqe_next = NULL;                                            \
} while (0)
#define QSIMPLEQ_REMOVE(head, elm, type, field) do {                         \
    struct type **link_ = &(head)->sqh_first;                                \
    while (*link_ != (elm)) {                                                \
        link_ = &(*link_)->field.sqe_next;                                   \
    }                                                                        \
    *link_ = (elm)->field.sqe_next;                                          \
    if (*link_ == NULL) {                                                    \
        (head)->sqh_last = link_;                                            \
    }                                                                        \
    (elm)->field.sqe_next = NULL;                                            \
} while (0)
/* Append all of @b to @a; @b is empty afterwards. */
#define QSIMPLEQ_CONCAT(a, b) do {                                           \
    if (!QSIMPLEQ_EMPTY(b)) {                                                \
        *(a)->sqh_last = (b)->sqh_first;                                     \
        (a)->sqh_last = (b)->sqh_last;                                       \
        QSIMPLEQ_INIT(b);                                                    \
    }                                                                        \
} while (0)
/* Put all of @b before @a; @b is empty afterwards. */
#define QSIMPLEQ_PREPEND(a, b) do {                                          \
    if (!QSIMPLEQ_EMPTY(b)) {                                                \
        *(b)->sqh_last = (a)->sqh_first;                                     \
        if ((a)->sqh_first == NULL) {                                        \
            (a)->sqh_last = (b)->sqh_last;                                   \
        }                                                                    \
        (a)->sqh_first = (b)->sqh_first;                                     \
        QSIMPLEQ_INIT(b);                                                    \
    }                                                                        \
} while (0)
#define QSIMPLEQ_FOREACH(var, head, field)                                   \
    for ((var) = (head)->sqh_first; (var); (var) = (var)->field.sqe_next)
#define QSIMPLEQ_FOREACH_SAFE(var, head, field, tvar)                        \
    for ((var) = (head)->sqh_first;                                          \
         (var) && ((tvar) = (var)->field.sqe_next, 1);                       \
         (var) = (tvar))

/* QLIST */
#define QLIST_HEAD(name, type) struct name { struct type *lh_first; }
#define QLIST_HEAD_INITIALIZER(head) { NULL }
#define QLIST_ENTRY(type)                                                    \
    struct { struct type *le_next; struct type **le_prev; }
#define QLIST_INIT(head) do {                                                \
    (head)->lh_first = NULL;                                                 \
} while (0)
#define QLIST_FIRST(head) ((head)->lh_first)
#define QLIST_NEXT(elm, field) ((elm)->field.le_next)
#define QLIST_EMPTY(head) ((head)->lh_first == NULL)
#define QLIST_INSERT_HEAD(head, elm, field) do {                             \
    (elm)->field.le_next = (head)->lh_first;                                 \
    if ((elm)->field.le_next != NULL) {                                      \
        (head)->lh_first->field.le_prev = &(elm)->field.le_next;             \
    }                                                                        \
    (head)->lh_first = (elm);                                                \
    (elm)->field.le_prev = &(head)->lh_first;                                \
} while (0)
/* Insert while another thread walks it with QLIST_FOREACH_ATOMIC(). */
#define QLIST_INSERT_HEAD_ATOMIC(head, elm, field) do {                      \
    (elm)->field.le_next = (head)->lh_first;                                 \
    (elm)->field.le_prev = &(head)->lh_first;                                \
    if ((elm)->field.le_next != NULL) {                                      \
        (head)->lh_first->field.le_prev = &(elm)->field.le_next;             \
    }                                                                        \
    qatomic_store_release(&(head)->lh_first, (elm));                         \
} while (0)
#define QLIST_INSERT_BEFORE(listelm, elm, field) do {                        \
    (elm)->field.le_prev = (listelm)->field.le_prev;                         \
    (elm)->field.le_next = (listelm);                                        \
    *(listelm)->field.le_prev = (elm);                                       \
    (listelm)->field.le_prev = &(elm)->field.le_next;                        \
} while (0)
#define QLIST_INSERT_AFTER(listelm, elm, field) do {                         \
    (elm)->field.le_next = (listelm)->field.le_next;                         \
    if ((elm)->field.le_next != NULL) {                                      \
        (elm)->field.le_next->field.le_prev = &(elm)->field.le_next;         \
    }                                                                        \
    (listelm)->field.le_next = (elm);                                        \
    (elm)->field.le_prev = &(listelm)->field.le_next;                        \
} while (0)
#define QLIST_REMOVE(elm, field) do {                                        \
    if ((elm)->field.le_next != NULL) {                                      \
        (elm)->field.le_next->field.le_prev = (elm)->field.le_prev;          \
    }                                                                        \
    *(elm)->field.le_prev = (elm)->field.le_next;                            \
    (elm)->field.le_next = NULL;                                             \
    (elm)->field.le_prev = NULL;                                             \
} while (0)
#define QLIST_SAFE_REMOVE(elm, field) do {                                   \
    if ((elm)->field.le_prev != NULL) {                                      \
        QLIST_REMOVE(elm, field);                                            \
    }                                                                        \
} while (0)
#define QLIST_IS_INSERTED(elm, field) ((elm)->field.le_prev != NULL)
#define QLIST_FOREACH(var, head, field)                                      \
    for ((var) = (head)->lh_first; (var); (var) = (var)->field.le_next)
/* Walk while others insert at the head; nobody may remove. */
#define QLIST_FOREACH_ATOMIC(var, head, field)                               \
    for ((var) = qatomic_load_acquire(&(head)->lh_first); (var);             \
         (var) = (var)->field.le_next)
#define QLIST_FOREACH_SAFE(var, head, field, tvar)                           \
    for ((var) = (head)->lh_first;                                           \
         (var) && ((tvar) = (var)->field.le_next, 1);                        \
         (var) = (tvar))

/* QTAILQ */
#define QTAILQ_HEAD(name, type)                                              \
    struct name { struct type *tqh_first; struct type **tqh_last; }
#define QTAILQ_HEAD_INITIALIZER(head) { NULL, &(head).tqh_first }
#define QTAILQ_ENTRY(type)                                                   \
    struct { struct type *tqe_next; struct type **tqe_prev; }
#define QTAILQ_INIT(head) do {                                               \
    (head)->tqh_first = NULL;                                                \
    (head)->tqh_last = &(head)->tqh_first;                                   \
} while (0)
#define QTAILQ_FIRST(head) ((head)->tqh_first)
#define QTAILQ_NEXT(elm, field) ((elm)->field.tqe_next)
#define QTAILQ_EMPTY(head) ((head)->tqh_first == NULL)
#define QTAILQ_IN_USE(elm, field) ((elm)->field.tqe_prev != NULL)
#define QTAILQ_INSERT_HEAD(head, elm, field) do {                            \
    (elm)->field.tqe_next = (head)->tqh_first;                               \
    if ((elm)->field.tqe_next != NULL) {                                     \
        (head)->tqh_first->field.tqe_prev = &(elm)->field.tqe_next;          \
    } else {                                                                 \
        (head)->tqh_last = &(elm)->field.tqe_next;                           \
    }                                                                        \
    (head)->tqh_first = (elm);                                               \
    (elm)->field.tqe_prev = &(head)->tqh_first;                              \
} while (0)
#define QTAILQ_INSERT_TAIL(head, elm, field) do {                            \
    (elm)->field.tqe_next = NULL;                                            \
    (elm)->field.tqe_prev = (head)->tqh_last;                                \
    *(head)->tqh_last = (elm);                                               \
    (head)->tqh_last = &(elm)->field.tqe_next;                               \
} while (0)
#define QTAILQ_INSERT_BEFORE(listelm, elm, field) do {                       \
    (elm)->field.tqe_prev = (listelm)->field.tqe_prev;                       \
    (elm)->field.tqe_next = (listelm);                                       \
    *(listelm)->field.tqe_prev = (elm);                                      \
    (listelm)->field.tqe_prev = &(elm)->field.tqe_next;                      \
} while (0)
#define QTAILQ_REMOVE(head, elm, field) do {                                 \
    if ((elm)->field.tqe_next != NULL) {                                     \
        (elm)->field.tqe_next->field.tqe_prev = (elm)->field.tqe_prev;       \
    } else {                                                                 \
        (head)->tqh_last = (elm)->field.tqe_prev;                            \
    }                                                                        \
    *(elm)->field.tqe_prev = (elm)->field.tqe_next;                          \
    (elm)->field.tqe_next = NULL;                                            \
    (elm)->field.tqe_prev = NULL;                                            \
} while (0)
#define QTAILQ_FOREACH(var, head, field)                                     \
    for ((var) = (head)->tqh_first; (var); (var) = (var)->field.tqe_next)
#define QTAILQ_FOREACH_SAFE(var, head, field, tvar)                          \
    for ((var) = (head)->tqh_first;                                          \
         (var) && ((tvar) = (var)->field.tqe_next, 1);                       \
         (var) = (tvar))

#endif
