/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Libraries that are loaded when they are first needed. */
#include "qemu/osdep.h"
#include <dlfcn.h>
#include "qemu/late-library.h"

static bool load(LateLibrary *lib, Error **errp)
{
    void *handle = dlopen(lib->soname, RTLD_NOW | RTLD_LOCAL);
    size_t i;

    if (!handle) {
        error_setg(errp, "Cannot load a library that is needed here: %s",
                   dlerror());
        return false;
    }
    for (i = 0; i < lib->nb_names; i++) {
        lib->symbols[i] = dlsym(handle, lib->names[i]);
        if (!lib->symbols[i]) {
            error_setg(errp, "Cannot use a library that is needed here: %s",
                       dlerror());
            dlclose(handle);
            return false;
        }
    }
    lib->loaded = true;
    return true;
}

bool late_library_load(LateLibrary *lib, Error **errp)
{
    static GMutex lock;
    bool ok;

    g_mutex_lock(&lock);
    ok = lib->loaded || load(lib, errp);
    g_mutex_unlock(&lock);
    return ok;
}
