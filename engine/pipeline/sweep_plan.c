/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* One plan for all points of a sweep. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "engine/pipeline/sweep.h"

/* Whether a sweep puts an entry of that name into its folder: folders of points, hidden ones for scratch, its report. */
static int is_own(const struct cwj_sweep *sweep, const char *name)
{
	if (name[0] == '.') {
		return strcmp(name, ".cwp-job") != 0; /* the mark of a single job's unfinished output */
	}
	if (strcmp(name, "report.json") == 0 || strcmp(name, "report.html") == 0) {
		return 1;
	}
	for (size_t i = 0; i < sweep->n_points; i++) {
		size_t n = strlen(sweep->points[i].label);
		if (strncmp(name, sweep->points[i].label, n) == 0 && (name[n] == '\0' || strncmp(name + n, ".rejected", 9) == 0)) {
			return 1;
		}
	}
	return 0;
}

static int check_folder(const struct cwj_sweep *sweep, struct cwb_err *err)
{
	int fd = open(sweep->output, O_DIRECTORY | O_RDONLY | O_CLOEXEC), r = 0;
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	if (dir == NULL) {
		r = errno == ENOENT ? 0 : cwb_err_errno(err, "output: %s: choose a folder that does not exist yet", sweep->output);
		if (fd >= 0) {
			(void)close(fd);
		}
		return r;
	}
	for (const struct dirent *e; r == 0 && (e = readdir(dir)) != NULL;) {
		if (!is_own(sweep, e->d_name)) {
			r = cwb_err_set(err, -EEXIST, "output: %s exists and holds \"%.100s\", which is not of this sweep; choose a folder "
				"that does not exist yet", sweep->output, e->d_name);
		}
	}
	(void)closedir(dir);
	return r;
}

static int keep_largest(json_t *all, const json_t *one)
{
	static const char *const names[] = {"memory", "gpu_memory", "scratch"};
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		json_int_t value = json_integer_value(json_object_get(one, names[i]));
		if (value >= json_integer_value(json_object_get(all, names[i])) &&
			json_object_set_new(all, names[i], json_integer(value)) != 0) {
			return -ENOMEM;
		}
	}
	return 0;
}

/* What several points were assumed of is said once. */
static int add_warnings(json_t *all, const json_t *some)
{
	size_t i, j;
	json_t *a, *b;
	json_array_foreach (some, i, a) {
		int known = 0;
		json_array_foreach (all, j, b) {
			known |= json_equal(a, b);
		}
		if (!known && json_array_append(all, a) != 0) {
			return -ENOMEM;
		}
	}
	return 0;
}

/* Takes the plan of a point into that of all; *all is NULL before the first. */
static int add_plan(const struct cwj_sweep *sweep, size_t i, json_t *plan, json_t **all)
{
	json_t *bounds = json_object_get(plan, "bounds"), *child = json_pack("{s:s,s:o,s:O}", "name", sweep->points[i].label,
		"values", cwj_sweep_values(sweep, i), "bounds", bounds);
	if (child == NULL) {
		return -ENOMEM;
	}
	if (*all == NULL) {
		*all = json_deep_copy(plan);
		if (*all == NULL || json_object_set_new(*all, "children", json_pack("[o]", child)) != 0) {
			return -ENOMEM;
		}
		return 0;
	}
	int r = json_array_append_new(json_object_get(*all, "children"), child) == 0 ? 0 : -ENOMEM;
	r = r == 0 ? keep_largest(json_object_get(*all, "bounds"), bounds) : r;
	return r == 0 ? add_warnings(json_object_get(*all, "warnings"), json_object_get(plan, "warnings")) : r;
}

int cwe_sweep_plan(const struct cwe_pipeline *p, const struct cwj_sweep *sweep, json_t **ret, struct cwb_err *err)
{
	json_t *all = NULL;
	int r = check_folder(sweep, err);
	for (size_t i = 0; r == 0 && i < sweep->n_points; i++) {
		struct cwe_pipeline one = *p;
		json_t *plan = NULL;
		one.job = sweep->points[i].job;
		one.finished_is_done = 1;
		r = cwe_pipeline_plan(&one, &plan, err);
		if (r == 0 && add_plan(sweep, i, plan, &all) != 0) {
			r = cwb_err_set(err, -ENOMEM, "no memory for the plan");
		} else if (r != 0 && err != NULL && err->line == 0) {
			(void)cwb_err_prefix(err, "%s", sweep->points[i].label); /* else the place says which value it is */
		}
		json_decref(plan);
	}
	if (r != 0) {
		json_decref(all);
		return r;
	}
	*ret = all;
	return 0;
}
