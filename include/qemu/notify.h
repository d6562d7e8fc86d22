/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lists of callbacks for one event.
 *
 * A list has no lock: its users see to it that it is used by one thread at a
 * time.  A callback may remove itself, not another one, while it runs.
 */
#ifndef QEMU_NOTIFY_H
#define QEMU_NOTIFY_H

#include "qemu/queue.h"

/* Embedded in its owner's structure; container_of() leads back to it. */
struct Notifier {
    void (*notify)(Notifier *notifier, void *data);
    QLIST_ENTRY(Notifier) node;
};

typedef struct NotifierList {
    QLIST_HEAD(, Notifier) notifiers;
} NotifierList;

#define NOTIFIER_LIST_INITIALIZER(head) \
    { QLIST_HEAD_INITIALIZER((head).notifiers) }

void notifier_list_init(NotifierList *list);

/* Put @notifier first; it stays owned by the caller until it is removed. */
void notifier_list_add(NotifierList *list, Notifier *notifier);

/* Take @notifier out of the list that it is on; it must be on one. */
void notifier_remove(Notifier *notifier);

/* Call all of them with @data, the last one added first. */
void notifier_list_notify(NotifierList *list, void *data);

bool notifier_list_empty(NotifierList *list);

typedef struct NotifierWithReturn NotifierWithReturn;

/* Returns 0, or -errno with @errp set, which ends the notification. */
typedef int (*NotifierWithReturnFunc)(NotifierWithReturn *notifier,
                                      void *data, Error **errp);

struct NotifierWithReturn {
    NotifierWithReturnFunc notify;
    QLIST_ENTRY(NotifierWithReturn) node;
};

typedef struct NotifierWithReturnList {
    QLIST_HEAD(, NotifierWithReturn) notifiers;
} NotifierWithReturnList;

void notifier_with_return_list_init(NotifierWithReturnList *list);
void notifier_with_return_list_add(NotifierWithReturnList *list,
                                   NotifierWithReturn *notifier);
void notifier_with_return_remove(NotifierWithReturn *notifier);

/* As notifier_list_notify(), up to the first failure, which is returned. */
int notifier_with_return_list_notify(NotifierWithReturnList *list,
                                     void *data, Error **errp);

#endif
