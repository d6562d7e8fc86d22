/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The object "throttle-group": limits that nodes share. */
#include "qemu/osdep.h"
#include <json-c/json.h>
#include "block/throttle-groups.h"
#include "qapi/error.h"
#include "qom/objects.h"

/*
 * All limits: X(name, its name in C, what has it).  The properties have "x-"
 * before the name.
 */
#define RATE(bucket) buckets[THROTTLE_##bucket].avg
#define BURST(bucket) buckets[THROTTLE_##bucket].max
#define LENGTH(bucket) buckets[THROTTLE_##bucket].burst_length
#define FOR_EACH_LIMIT(X) \
    X("iops-total", iops_total, RATE(OPS_TOTAL)) \
    X("iops-total-max", iops_total_max, BURST(OPS_TOTAL)) \
    X("iops-total-max-length", iops_total_max_length, LENGTH(OPS_TOTAL)) \
    X("iops-read", iops_read, RATE(OPS_READ)) \
    X("iops-read-max", iops_read_max, BURST(OPS_READ)) \
    X("iops-read-max-length", iops_read_max_length, LENGTH(OPS_READ)) \
    X("iops-write", iops_write, RATE(OPS_WRITE)) \
    X("iops-write-max", iops_write_max, BURST(OPS_WRITE)) \
    X("iops-write-max-length", iops_write_max_length, LENGTH(OPS_WRITE)) \
    X("bps-total", bps_total, RATE(BPS_TOTAL)) \
    X("bps-total-max", bps_total_max, BURST(BPS_TOTAL)) \
    X("bps-total-max-length", bps_total_max_length, LENGTH(BPS_TOTAL)) \
    X("bps-read", bps_read, RATE(BPS_READ)) \
    X("bps-read-max", bps_read_max, BURST(BPS_READ)) \
    X("bps-read-max-length", bps_read_max_length, LENGTH(BPS_READ)) \
    X("bps-write", bps_write, RATE(BPS_WRITE)) \
    X("bps-write-max", bps_write_max, BURST(BPS_WRITE)) \
    X("bps-write-max-length", bps_write_max_length, LENGTH(BPS_WRITE)) \
    X("iops-size", iops_size, op_size)

/* Set *@slot, false with @errp set if the limit can never be @value. */
static bool take_limit(const char *name, int64_t value, int64_t *slot,
                       Error **errp)
{
    if (g_str_has_suffix(name, "-length") &&
        (value < 0 || value > UINT32_MAX)) {
        error_setg(errp, "%s value must be in the range [0, %u]", name,
                   UINT32_MAX);
        return false;
    }
    if (g_str_has_suffix(name, "-size") && value < 0) {
        error_setg(errp, "%s value must be in the range [0, %" PRId64 "]",
                   name, INT64_MAX);
        return false;
    }
    *slot = value;
    return true;
}

/* What @p has goes into @cfg; without it @cfg stays. */
static bool take_limits(const ThrottleLimits *p, ThrottleConfig *cfg,
                        Error **errp)
{
#define TAKE(name, c_name, field)                                       \
    if (p->has_##c_name &&                                              \
        !take_limit(name, p->c_name, &cfg->field, errp)) {              \
        return false;                                                   \
    }
    FOR_EACH_LIMIT(TAKE)
    return true;
}

static bool take_x_limits(const ThrottleGroupProperties *p,
                          ThrottleConfig *cfg, Error **errp)
{
#define TAKE_X(name, c_name, field)                                     \
    if (p->has_x_##c_name && p->x_##c_name < 0) {                       \
        error_setg(errp, "Property values cannot be negative");         \
        return false;                                                   \
    }                                                                   \
    if (p->has_x_##c_name &&                                            \
        !take_limit("x-" name, p->x_##c_name, &cfg->field, errp)) {     \
        return false;                                                   \
    }
    FOR_EACH_LIMIT(TAKE_X)
    return true;
}

static void *create(const ObjectOptions *options, Error **errp)
{
    const ThrottleGroupProperties *p = &options->u.throttle_group;
    ThrottleConfig cfg;

    throttle_config_init(&cfg);
    if (!take_x_limits(p, &cfg, errp) ||
        (p->limits && !take_limits(p->limits, &cfg, errp)) ||
        !throttle_is_valid(&cfg, errp)) {
        return NULL;
    }
    return throttle_group_new(options->id, &cfg);
}

static void destroy(void *object)
{
    throttle_group_unref(object);
}

static bool can_be_deleted(void *object)
{
    return !throttle_group_in_use(object);
}

/* --- properties --- */

static struct json_object *get_limits(void *object)
{
    ThrottleLimits limits;
    ThrottleConfig cfg;

    throttle_group_get_config(object, &cfg);
#define GIVE(name, c_name, field)       \
    limits.has_##c_name = true;         \
    limits.c_name = cfg.field;
    FOR_EACH_LIMIT(GIVE)
    return QAPI_TO_JSON(ThrottleLimits, &limits);
}

/* {"limits": @value} as a ThrottleGroupProperties: messages name the member. */
static ThrottleGroupProperties *parse_limits(struct json_object *value,
                                             Error **errp)
{
    struct json_object *json = json_object_new_object();
    ThrottleGroupProperties *p;

    json_object_object_add(json, "limits", json_object_get(value));
    p = QAPI_FROM_JSON(ThrottleGroupProperties, json, errp);
    json_object_put(json);
    return p;
}

static bool set_limits(void *object, struct json_object *value, Error **errp)
{
    ThrottleGroupProperties *p = parse_limits(value, errp);
    ThrottleConfig cfg;
    bool ok;

    if (!p) {
        return false;
    }
    throttle_group_get_config(object, &cfg);
    ok = take_limits(p->limits, &cfg, errp) && throttle_is_valid(&cfg, errp);
    if (ok) {
        throttle_group_set_config(object, &cfg);
    }
    qapi_free_ThrottleGroupProperties(p);
    return ok;
}

static bool set_x_limit(void *object, struct json_object *value, Error **errp)
{
    error_setg(errp, "Property cannot be set after initialization");
    return false;
}

#define GETTER(name, c_name, field)                             \
    static struct json_object *get_##c_name(void *object)       \
    {                                                           \
        ThrottleConfig cfg;                                     \
                                                                \
        throttle_group_get_config(object, &cfg);                \
        return json_object_new_int64(cfg.field);                \
    }
FOR_EACH_LIMIT(GETTER)

#define PROPERTY(name, c_name, field) \
    { "x-" name, "int", get_##c_name, set_x_limit },

static const ObjectProperty properties[] = {
    { "limits", "ThrottleLimits", get_limits, set_limits },
    FOR_EACH_LIMIT(PROPERTY)
    { NULL }
};

static const UserObjectType throttle_group_object_type = {
    .parent = "object",
    .properties = properties,
    .create = create,
    .destroy = destroy,
    .can_be_deleted = can_be_deleted,
};

USER_OBJECT_TYPE(OBJECT_TYPE_THROTTLE_GROUP, throttle_group_object_type)
