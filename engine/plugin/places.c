/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The plugin folder that belongs to a program. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/plugin/places.h"

int cwe_plugin_folder(char **ret, struct cwb_err *err)
{
	char exe[PATH_MAX];
	char *folder = NULL;
	ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
	if (n > 0) {
		exe[n] = '\0';
		/* Libtool may keep the real program in .libs of the build tree. */
		for (int level = 0; level < 2; level++) {
			char *slash = strrchr(exe, '/');
			if (slash == NULL) {
				break;
			}
			*slash = '\0';
			if (asprintf(&folder, "%s/plugins/.libs", exe) < 0) {
				return cwb_err_set(err, -ENOMEM, "no memory for a path");
			}
			if (access(folder, R_OK) == 0) {
				*ret = folder;
				return 0;
			}
			free(folder);
		}
	}
	folder = strdup(CWE_PLUGIN_DIRECTORY);
	*ret = folder;
	return folder != NULL ? 0 : cwb_err_set(err, -ENOMEM, "no memory for a path");
}
