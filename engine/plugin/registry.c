/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Looks for plugins in configured directories. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/nearest.h"
#include "engine/plugin/descriptor.h"
#include "engine/plugin/guard.h"
#include "engine/plugin/registry.h"
#include "engine/plugin/trust.h"

enum { MAX_FILES = 1024, LOAD_SECONDS = 30 };

struct cwe_registry {
	unsigned flags;
	size_t count;
	char **directory; /* [count] */
};

/* What was opened stays open as long as the process; so does this list of it. [worker] */
struct opened {
	struct opened *next;
	struct cwe_plugin plugin;
};

static struct opened *opened_list;

/* A search in progress. */
struct search {
	const struct cwe_registry *r;
	uint32_t kind;
	const char *id;
	uint32_t other_kind; /* of <id>.so, where it is another than wanted; else 0 */
	char (*names)[64];   /* ids that could be meant */
	size_t n_names;
};

int cwe_registry_new(const char *const *directories, size_t count, unsigned flags, struct cwe_registry **ret, struct cwb_err *err)
{
	if ((flags & ~(unsigned)CWE_REGISTRY_ANY_OWNER) != 0) {
		return cwb_err_set(err, CWP_EVALUE, "unknown registry flags 0x%x", flags);
	}
	for (size_t i = 0; i < count; i++) {
		if (directories[i][0] != '/') {
			return cwb_err_set(err, CWP_EVALUE, "plugin directory '%s' is not an absolute path", directories[i]);
		}
		if (strlen(directories[i]) > PATH_MAX - NAME_MAX - 2) {
			return cwb_err_set(err, -ENAMETOOLONG, "plugin directory '%s' is too long", directories[i]);
		}
	}
	struct cwe_registry *r = calloc(1, sizeof(*r));
	if (r != NULL) {
		r->flags = flags;
		r->directory = calloc(count + 1, sizeof(*r->directory));
	}
	for (size_t i = 0; r != NULL && r->directory != NULL && i < count; i++) {
		r->directory[i] = strdup(directories[i]);
		r->count += r->directory[i] != NULL;
	}
	if (r == NULL || r->directory == NULL || r->count < count) {
		cwe_registry_free(r);
		return cwb_err_set(err, -ENOMEM, "no memory for the list of plugin directories");
	}
	*ret = r;
	return 0;
}

void cwe_registry_free(struct cwe_registry *r)
{
	if (r == NULL) {
		return;
	}
	for (size_t i = 0; r->directory != NULL && i < r->count; i++) {
		free(r->directory[i]);
	}
	free(r->directory);
	free(r);
}

/* Takes *plugin over. */
static int remember(struct cwe_plugin *plugin, const struct cwe_plugin **ret, struct cwb_err *err)
{
	struct opened *o = calloc(1, sizeof(*o));

	if (o == NULL) {
		free(plugin->path);
		return cwb_err_set(err, -ENOMEM, "no memory to remember a plugin");
	}
	o->plugin = *plugin;
	o->next = opened_list;
	opened_list = o;
	*ret = &o->plugin;
	return 0;
}

static const struct cwe_plugin *opened_by_path(const char *path)
{
	for (const struct opened *o = opened_list; o != NULL; o = o->next) {
		if (strcmp(o->plugin.path, path) == 0) {
			return &o->plugin;
		}
	}
	return NULL;
}

static int try_open(void *arg, int fd)
{
	struct cwb_err err = {0};
	struct cwe_plugin plugin;

	/* What it opens goes with the process. An empty err is told too: a plugin that exits tells nothing. */
	if (cwe_plugin_open(arg, &plugin, &err) == 0) {
		free(plugin.path);
	}
	return cwe_guard_write(fd, (const char *)&err, sizeof(err)) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* Opens the file in a process of its own first: one that crashes, exits or hangs when it is loaded becomes an error
 * with its name in it, and does not take this process along. */
static int rehearse(char *path, struct cwb_err *err)
{
	struct cwb_err told = {0}, failed = {0};
	char *text = NULL;
	size_t length = 0;
	int status = EXIT_SUCCESS;

	int rc = cwe_guard_run(LOAD_SECONDS, try_open, path, path, &text, &length, &status, &failed);
	if (rc == CWP_EPLUGIN) {
		return cwb_err_set(err, rc, "%s", failed.message);
	}
	if (rc < 0) {
		/* Where no further process may be started, there is a sandbox, which is guard enough. */
		return 0;
	}
	if (status == EXIT_SUCCESS && length == sizeof(told)) {
		memcpy(&told, text, sizeof(told));
		rc = told.code != 0 ? cwb_err_set(err, told.code, "%s", told.message) : 0;
	} else {
		rc = cwb_err_set(err, CWP_EPLUGIN,
			"%s: ended the process with status %d while it was loaded; a plugin must never exit: report it to its vendor", path, status);
	}
	free(text);
	return rc;
}

static int read_note(const char *path, struct cwe_note *note, struct cwb_err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0) {
		return cwb_err_errno(err, "%s", path);
	}
	int rc = cwe_note_read(fd, path, note, err);
	close(fd);
	return rc == 0 ? cwe_note_check(note, path, err) : rc;
}

/* Owner and note of one file, then, if it is of the kind that is looked for, the file itself. *ret stays NULL for
 * a plugin of another kind. */
static int try_file(struct search *s, const char *path, const struct cwe_plugin **ret, uint32_t *ret_kind, struct cwb_err *err)
{
	struct cwe_note note = {0};
	struct cwe_plugin plugin;
	char *resolved = NULL;

	if ((s->r->flags & CWE_REGISTRY_ANY_OWNER) != 0) {
		resolved = realpath(path, NULL);
		if (resolved == NULL) {
			return cwb_err_errno(err, "%s", path);
		}
	} else {
		int denied = cwe_trust_check(path, &resolved, err);
		if (denied < 0 || resolved == NULL) {
			return denied;
		}
	}
	int rc = read_note(resolved, &note, err);
	if (rc < 0) {
		free(resolved);
		return rc;
	}
	*ret_kind = note.kind;
	if (note.kind == s->kind) {
		*ret = opened_by_path(resolved);
		if (*ret == NULL) {
			rc = rehearse(resolved, err);
			rc = rc == 0 ? cwe_plugin_open(resolved, &plugin, err) : rc;
			rc = rc == 0 ? remember(&plugin, ret, err) : rc;
		}
	}
	free(resolved);
	return rc;
}

/* <directory>/<id>.so. A file of this name that is refused ends the search: another one further on would hide that
 * the first was meant. 1: found. */
static int try_directory(struct search *s, const char *directory, const struct cwe_plugin **ret, struct cwb_err *err)
{
	char path[PATH_MAX];
	const struct cwe_plugin *found = NULL;
	uint32_t kind = 0;

	snprintf(path, sizeof(path), "%s/%s.so", directory, s->id);
	if (access(path, F_OK) < 0 && errno == ENOENT) {
		return 0;
	}
	int rc = try_file(s, path, &found, &kind, err);
	if (rc < 0) {
		return rc;
	}
	if (found == NULL) {
		s->other_kind = kind;
		return 0;
	}
	if (strcmp(found->descriptor->id, s->id) != 0) {
		return cwb_err_set(err, CWP_EPLUGIN, "%s: holds plugin '%s'; rename the file to %s.so", path, found->descriptor->id,
			found->descriptor->id);
	}
	*ret = found;
	return 1;
}

static void add_name(struct search *s, const char *name, size_t length)
{
	if (length > 0 && length < sizeof(s->names[0]) && s->n_names < MAX_FILES) {
		memcpy(s->names[s->n_names], name, length);
		s->names[s->n_names][length] = '\0';
		s->n_names++;
	}
}

/* Names of the plugins of the kind in a directory, for "did you mean". Only their notes are read. */
static void collect_names(struct search *s, const char *directory)
{
	struct dirent **entry = NULL;
	int n = scandir(directory, &entry, NULL, alphasort);

	for (int i = 0; i < n; i++) {
		const char *name = entry[i]->d_name;
		size_t length = strlen(name);
		if (i < MAX_FILES && length > 3 && name[0] != '.' && strcmp(name + length - 3, ".so") == 0) {
			char path[PATH_MAX];
			struct cwe_note note;
			snprintf(path, sizeof(path), "%s/%s", directory, name);
			if (read_note(path, &note, NULL) == 0 && note.kind == s->kind) {
				add_name(s, name, length - 3);
			}
		}
		free(entry[i]);
	}
	free(entry);
}

static int not_found(struct search *s, struct cwb_err *err)
{
	const char **list = calloc(MAX_FILES, sizeof(*list));
	const char *near = NULL;
	char hint[160] = "";

	s->names = calloc(MAX_FILES, sizeof(*s->names));
	if (list != NULL && s->names != NULL) {
		for (size_t i = 0; i < s->r->count; i++) {
			collect_names(s, s->r->directory[i]);
		}
		for (size_t i = 0; i < s->n_names; i++) {
			list[i] = s->names[i];
		}
		near = cwb_nearest(s->id, list, s->n_names, sizeof(*list));
	}
	if (s->other_kind != 0) {
		snprintf(hint, sizeof(hint), "; '%s' is a %s", s->id, cwe_kind_name(s->other_kind));
	} else if (near != NULL) {
		snprintf(hint, sizeof(hint), "; did you mean '%s'?", near);
	}
	int rc = cwb_err_set(err, CWP_EUNKNOWN, "no %s plugin '%s' in %s%s%s", cwe_kind_name(s->kind), s->id,
		s->r->count > 0 ? s->r->directory[0] : "any directory: none is configured",
		s->r->count > 1 ? " and the other plugin directories" : "", hint);
	if (near != NULL && err != NULL) {
		snprintf(err->nearest, sizeof(err->nearest), "%s", near);
	}
	free(list);
	free(s->names);
	return rc;
}

int cwe_registry_find(struct cwe_registry *r, uint32_t kind, const char *id, const struct cwe_plugin **ret, struct cwb_err *err)
{
	struct search s = {.r = r, .kind = kind, .id = id};
	int rc = 0;

	if (cwe_kind_name(kind) == NULL) {
		return cwb_err_set(err, CWP_EVALUE, "unknown plugin kind %u", (unsigned)kind);
	}
	/* Also keeps "../../x" from becoming part of a path. */
	if (!cwe_id_is_valid(id)) {
		return cwb_err_set(err, CWP_EUNKNOWN, "'%.64s' is no plugin's id: 1 to 63 lower-case letters, digits and hyphens, a letter first",
			id);
	}
	for (size_t i = 0; rc == 0 && i < r->count; i++) {
		rc = try_directory(&s, r->directory[i], ret, err);
	}
	if (rc == 0) {
		return not_found(&s, err);
	}
	return rc < 0 ? rc : 0;
}
