/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From flat options to the C structures of the schema: what a driver takes of
 * the options of its node.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/util.h"
#include "qemu/option.h"

/* An integer of @size bytes; false with @errp set if @value does not fit. */
static bool store_number(const QapiMember *m, uint64_t value, void *slot,
                         Error **errp)
{
    unsigned bits = m->type->size * 8 - (m->type->kind == QAPI_KIND_INT);

    if (bits < 64 && value >> bits) {
        error_setg(errp, "Parameter '%s' expects a number up to %" PRIu64,
                   m->name, (UINT64_C(1) << bits) - 1);
        return false;
    }
    qapi_store_int(m->type, slot, value);
    return true;
}

static bool take_member(QOpts *opts, const QapiMember *m, void *slot,
                        Error **errp)
{
    uint64_t number;

    switch (m->type->kind) {
    case QAPI_KIND_STR:
        return qopts_take_str(opts, m->name, NULL, slot, errp);
    case QAPI_KIND_BOOL:
        return qopts_take_bool(opts, m->name, false, slot, errp);
    case QAPI_KIND_ENUM:
        return qopts_take_enum(opts, m->name, m->type->lookup->array, 0, slot,
                               errp);
    case QAPI_KIND_SIZE:
        return qopts_take_size(opts, m->name, 0, slot, errp);
    case QAPI_KIND_INT:
        /* The schema's sizes are of this type, too. */
        return qopts_take_size(opts, m->name, 0, &number, errp)
               && store_number(m, number, slot, errp);
    case QAPI_KIND_UINT:
        return qopts_take_number(opts, m->name, 0, &number, errp)
               && store_number(m, number, slot, errp);
    default:
        /* Nodes, lists and objects: the driver knows what they are. */
        return true;
    }
}

void *qopts_take_object(QOpts *opts, const QapiType *type, Error **errp)
{
    void *obj = g_malloc0(type->size);
    size_t i;

    for (i = 0; i < type->n_members; i++) {
        const QapiMember *m = &type->members[i];

        if (!qopts_has(opts, m->name)) {
            continue;
        }
        if (!take_member(opts, m, (char *)obj + m->offset, errp)) {
            qapi_free_value(type, &obj);
            return NULL;
        }
        if (m->has_offset != QAPI_NO_FLAG) {
            *(bool *)((char *)obj + m->has_offset) = true;
        }
    }
    return obj;
}
