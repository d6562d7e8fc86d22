/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The objects "authz-simple" and "authz-list": who may use a server. */
#include "qemu/osdep.h"
#include <json-c/json.h>
#include "qapi/error.h"
#include "qom/objects.h"

typedef struct Authz {
    char *identity;             /* of authz-simple */
    AuthZListProperties *list;  /* of authz-list */
} Authz;

static bool rule_matches(const QAuthZListRule *rule, const char *identity)
{
    return rule->has_format && rule->format == QAUTHZ_LIST_FORMAT_GLOB ?
           g_pattern_match_simple(rule->match, identity) :
           !strcmp(rule->match, identity);
}

/* The first rule that matches decides, and without one the policy. */
static bool list_allows(const AuthZListProperties *list, const char *identity)
{
    const QAuthZListRuleList *l;

    for (l = list->rules; l; l = l->next) {
        if (rule_matches(l->value, identity)) {
            return l->value->policy == QAUTHZ_LIST_POLICY_ALLOW;
        }
    }
    return list->has_policy && list->policy == QAUTHZ_LIST_POLICY_ALLOW;
}

bool authz_is_allowed_by_id(const char *id, const char *identity,
                            Error **errp)
{
    UserObject *obj = user_object_find(id);
    const Authz *authz;

    if (!obj || (obj->kind != OBJECT_TYPE_AUTHZ_SIMPLE &&
                 obj->kind != OBJECT_TYPE_AUTHZ_LIST)) {
        error_setg(errp, "Cannot find QAuthZ object ID %s", id);
        return false;
    }
    authz = obj->object;
    if (!identity || !(authz->list ? list_allows(authz->list, identity) :
                       !strcmp(authz->identity, identity))) {
        error_setg(errp, "TLS x509 authz check for %s is denied",
                   identity ? identity : "a client without a name");
        return false;
    }
    return true;
}

static void *create_simple(const ObjectOptions *options, Error **errp)
{
    Authz *authz = g_new0(Authz, 1);

    authz->identity = g_strdup(options->u.authz_simple.identity);
    return authz;
}

static void *create_list(const ObjectOptions *options, Error **errp)
{
    Authz *authz = g_new0(Authz, 1);

    authz->list = QAPI_CLONE(AuthZListProperties, &options->u.authz_list);
    return authz;
}

static void destroy(void *object)
{
    Authz *authz = object;

    g_free(authz->identity);
    qapi_free_AuthZListProperties(authz->list);
    g_free(authz);
}

static struct json_object *get_identity(void *object)
{
    return property_string(((Authz *)object)->identity);
}

static struct json_object *get_policy(void *object)
{
    const AuthZListProperties *list = ((Authz *)object)->list;

    return property_string(QAuthZListPolicy_str(
        list->has_policy ? list->policy : QAUTHZ_LIST_POLICY_DENY));
}

static struct json_object *get_rules(void *object)
{
    return QAPI_TO_JSON(QAuthZListRuleList, ((Authz *)object)->list->rules);
}

static const ObjectProperty simple_properties[] = {
    { "identity", "string", get_identity },
    { NULL }
};

static const ObjectProperty list_properties[] = {
    { "policy", "QAuthZListPolicy", get_policy },
    { "rules", "QAuthZListRule", get_rules },
    { NULL }
};

static const UserObjectType authz_simple_type = {
    .parent = "authz",
    .properties = simple_properties,
    .create = create_simple,
    .destroy = destroy,
};

static const UserObjectType authz_list_type = {
    .parent = "authz",
    .properties = list_properties,
    .create = create_list,
    .destroy = destroy,
};

USER_OBJECT_TYPE(OBJECT_TYPE_AUTHZ_SIMPLE, authz_simple_type)
USER_OBJECT_TYPE(OBJECT_TYPE_AUTHZ_LIST, authz_list_type)
