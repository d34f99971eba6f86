/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Text or file -> YAML tree -> structure, with the file's name put before errors. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "job/document.h"
#include "job/path.h"
#include "job/schema_value.h"

enum { MOST_BYTES = 1 << 20 };

/* Whether a text holds nothing but white space and comments. */
static int is_empty(const char *text, size_t length)
{
	size_t i = 0;

	while (i < length) {
		if (text[i] == '#') {
			while (i < length && text[i] != '\n') {
				if ((unsigned char)text[i] < 0x20 && text[i] != '\t' &&
					text[i] != '\r') {
					return 0;
				}
				i++;
			}
		} else if (text[i] != ' ' && text[i] != '\n' && text[i] != '\r') {
			return 0;
		} else {
			i++;
		}
	}
	return 1;
}

int cwj_document_parse(const char *text, size_t length, const char *directory,
	const struct cwj_table *table, unsigned flags, void *target, struct cwb_err *err)
{
	struct cwb_err own = {0};
	struct cwj_reader r = {
		.directory = directory, .err = err != NULL && err->code == 0 ? err : &own};
	static const char nothing[] = "{}";
	struct cwj_yaml *tree;

	if (directory[0] != '/') {
		return cwb_err_set(err, CWP_EVALUE,
			"directory \"%.200s\" is not absolute; give a path that begins with /",
			directory);
	}
	if ((flags & CWJ_DOCUMENT_MAY_BE_EMPTY) != 0 && is_empty(text, length)) {
		text = nothing;
		length = sizeof(nothing) - 1;
	}
	int rc = cwj_yaml_parse(text, length, &tree, r.err);
	if (rc < 0) {
		return rc;
	}
	rc = cwj_table_read(&r, table, tree, target);
	cwj_yaml_free(tree);
	return rc;
}

/* The absolute folder of a file that may be named relative to the working directory. */
static char *folder_of(const char *path)
{
	char *cwd = path[0] == '/' ? strdup("/") : getcwd(NULL, 0);

	if (cwd == NULL) {
		return NULL;
	}
	char *whole = cwj_path_resolve(cwd, path);
	free(cwd);
	if (whole != NULL) {
		char *slash = strrchr(whole, '/');
		slash[slash == whole] = '\0';
	}
	return whole;
}

int cwj_document_load(const char *path, cwj_document_parser parse, void *arg, struct cwb_err *err)
{
	struct cwb_err own = {0};
	struct cwb_err *e = err != NULL && err->code == 0 ? err : &own;
	char *text;
	size_t length;
	int rc = cwb_file_read(path, MOST_BYTES, &text, &length, e);

	if (rc < 0) {
		return rc;
	}
	char *folder = folder_of(path);
	if (folder == NULL) {
		rc = cwb_err_errno(e, "%s: cannot find its folder", path);
	} else {
		rc = parse(text, length, folder, arg, e);
		if (rc < 0 && e->line > 0) {
			(void)cwb_err_prefix(e, "%s:%d:%d", path, e->line, e->column);
		} else if (rc < 0) {
			(void)cwb_err_prefix(e, "%s", path);
		}
	}
	free(folder);
	free(text);
	return rc;
}

struct read {
	const struct cwj_table *table;
	unsigned flags;
	void *target;
};

static int parse_table(
	const char *text, size_t length, const char *directory, void *arg, struct cwb_err *err)
{
	const struct read *read = arg;

	return cwj_document_parse(
		text, length, directory, read->table, read->flags, read->target, err);
}

int cwj_document_read(const char *path, const struct cwj_table *table, unsigned flags, void *target,
	struct cwb_err *err)
{
	struct read read = {.table = table, .flags = flags, .target = target};

	return cwj_document_load(path, parse_table, &read, err);
}
