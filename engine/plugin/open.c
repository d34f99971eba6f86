/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Opens one plugin file: note, then dlopen, then descriptor, then interface. */
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/digest.h"
#include "engine/plugin/descriptor.h"
#include "engine/plugin/registry.h"

/* What can be known of a file without running its code. */
static int inspect_file(const char *path, struct cwe_note *note, char build_id[65], struct cwb_err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0) {
		return cwb_err_errno(err, "%s", path);
	}
	int rc = cwe_note_read(fd, path, note, err);
	if (rc == 0) {
		rc = cwe_note_check(note, path, err);
	}
	if (rc == 0) {
		rc = cwe_note_build_id(fd, path, build_id, err);
	}
	if (rc == 0 && build_id[0] == '\0') {
		rc = cwb_digest_fd(fd, path, NULL, NULL, build_id, NULL, err);
	}
	close(fd);
	return rc;
}

/* The descriptor, and how many bytes the file gives to its symbol (0: the file does not say). */
static int find_symbol(void *library, const char *path, const struct cwp_plugin **ret, uint64_t *ret_size, struct cwb_err *err)
{
	const struct cwp_plugin *p = dlsym(library, CWP_PLUGIN_SYMBOL);
	Dl_info info;
	void *extra = NULL;

	if (p == NULL) {
		return cwb_err_set(err, CWP_EPLUGIN, "%s: exports no symbol %s; declare it with CWP_PLUGIN_EXPORT of <cwp/plugin.h>", path,
			CWP_PLUGIN_SYMBOL);
	}
	*ret = p;
	*ret_size = 0;
	if (dladdr1(p, &info, &extra, RTLD_DL_SYMENT) != 0 && extra != NULL && info.dli_saddr == (const void *)p) {
		const ElfW(Sym) *symbol = extra;
		if (ELF64_ST_TYPE(symbol->st_info) == STT_FUNC) {
			return cwb_err_set(err, CWP_EPLUGIN, "%s: symbol %s is a function, not a struct cwp_plugin; rebuild the plugin", path,
				CWP_PLUGIN_SYMBOL);
		}
		*ret_size = symbol->st_size;
	}
	return 0;
}

int cwe_plugin_open(const char *path, struct cwe_plugin *ret, struct cwb_err *err)
{
	struct cwe_note note;
	struct cwe_plugin p = {0};
	uint64_t symbol_size = 0;

	/* Resolved, so that dlopen never searches its own places for a bare name. */
	p.path = realpath(path, NULL);
	if (p.path == NULL) {
		return cwb_err_errno(err, "%s", path);
	}
	int rc = inspect_file(p.path, &note, p.build_id, err);
	if (rc == 0) {
		void *library = dlopen(p.path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
		if (library == NULL) {
			const char *why = dlerror();
			rc = cwb_err_set(err, CWP_EPLUGIN, "%s: cannot be loaded: %s", p.path, why != NULL ? why : "no reason given");
		} else {
			rc = find_symbol(library, p.path, &p.descriptor, &symbol_size, err);
		}
	}
	if (rc == 0) {
		rc = cwe_descriptor_check(p.descriptor, symbol_size, &note, p.path, err);
	}
	if (rc == 0) {
		rc = cwe_interface_get(p.descriptor, p.path, &p.interface, err);
	}
	if (rc < 0) {
		free(p.path);
		return rc;
	}
	*ret = p;
	return 0;
}
