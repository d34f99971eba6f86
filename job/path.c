/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Lexical normalization of paths. */
#include <stdlib.h>
#include <string.h>

#include "job/path.h"

/* Appends the components of path to out (length *used, no '/' at its end); never writes beyond what
 * it reads. */
static void append(char *out, size_t *used, const char *path)
{
	while (*path != '\0') {
		size_t n = strcspn(path, "/");
		if (n == 2 && path[0] == '.' && path[1] == '.') {
			size_t last = *used;
			while (last > 0 && out[last - 1] != '/') {
				last--;
			}
			*used = last > 0 ? last - 1 : 0;
		} else if (n > 0 && !(n == 1 && path[0] == '.')) {
			out[(*used)++] = '/';
			memcpy(out + *used, path, n);
			*used += n;
		}
		path += n + (path[n] == '/');
	}
}

char *cwj_path_resolve(const char *directory, const char *path)
{
	size_t used = 0;
	/* Each component costs its length and one '/'; the first of a relative path has none of its
	 * own. */
	char *out = malloc(strlen(directory) + strlen(path) + 4);

	if (out == NULL) {
		return NULL;
	}
	if (path[0] != '/') {
		append(out, &used, directory);
	}
	append(out, &used, path);
	if (used == 0) {
		out[used++] = '/';
	}
	out[used] = '\0';
	return out;
}
