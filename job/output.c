/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Where the output of a job lies. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "job/output.h"

#define MANIFEST_LIMIT ((size_t)64 << 20)
#define REJECTED_MAX 1000 /* as many names as a rejected output may get */

/* Whether the folder is a finished output of that job: an older one of another job does not count. */
static int is_output_of(const char *folder, const char *digest)
{
	char *path = NULL;
	json_t *manifest = NULL;
	int ours = 0;

	if (asprintf(&path, "%s/manifest.json", folder) < 0) {
		return 0;
	}
	if (cwb_json_load_file(path, MANIFEST_LIMIT, CWB_JSON_DEPTH, &manifest, NULL) == 0) {
		const char *found = json_string_value(json_object_get(manifest, "job_digest"));
		ours = found != NULL && strcmp(found, digest) == 0;
	}
	json_decref(manifest);
	free(path);
	return ours;
}

char *cwj_output_find(const char *output, const char *digest, int *ret_rejected)
{
	char *found = NULL;

	if (ret_rejected != NULL) {
		*ret_rejected = 0;
	}
	if (is_output_of(output, digest)) {
		return strdup(output);
	}
	for (int i = 0; i < REJECTED_MAX; i++) {
		char *folder = NULL;
		int n = i == 0 ? asprintf(&folder, "%s.rejected", output)
			       : asprintf(&folder, "%s.rejected-%d", output, i);
		if (n < 0) {
			break;
		}
		if (access(folder, F_OK) != 0) {
			free(folder);
			break;
		}
		if (is_output_of(folder, digest)) {
			free(found);
			found = folder;
		} else {
			free(folder);
		}
	}
	if (ret_rejected != NULL) {
		*ret_rejected = found != NULL;
	}
	return found;
}
