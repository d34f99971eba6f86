/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A search as jobs of its own: each try is the job with another fraction, with the evaluations that its gate asks about, an
 * output below scratch and a cache of scores that all of them share. Tries are noted, so that a kill costs one of them. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "engine/pipeline/search.h"

#define FOLDER "search"      /* below scratch */
#define NOTES "tries.json"   /* in it: an array of {fraction, passed, bits_per_weight, gate} */
#define MOST_TRIES 64
#define REPORT_LIMIT (64u << 20)
#define CACHE_SIZE (UINT64_C(1) << 60)

struct search {
	const struct cwe_pipeline *p;
	const json_t *plan;
	char *folder; /* "<scratch>/search", and in it */
	char *scratch, *cache; /* folders of the tries */
	int fd;
	json_t *tries;
};

static int no_memory(struct cwb_err *err)
{
	return cwb_err_set(err, -ENOMEM, "no memory for a search");
}

/* Whether a gate's metric is one of this evaluation. */
static int is_of(const struct cwj_gate *gate, const struct cwj_evaluation *e)
{
	size_t n = strlen(e->name);

	return strncmp(gate->metric, e->name, n) == 0 && gate->metric[n] == '.';
}

/* Whether a benchmark generates text, as the plan says. */
static int is_costly(const struct search *s, const struct cwj_evaluation *e)
{
	size_t i;
	json_t *row;

	json_array_foreach (json_object_get(s->plan, "evaluations"), i, row) {
		const char *name = json_string_value(json_object_get(row, "name"));
		if (name && strcmp(name, e->name) == 0)
			return json_integer_value(json_object_get(row, "generated")) > 0;
	}
	return 0;
}

/* The job of a try: the evaluations of one kind that gates ask about, and their gates. The arrays are the caller's to free;
 * what they hold stays the job's. */
static int make_job(const struct search *s, double fraction, int costly, struct cwj_job *ret, struct cwb_err *err)
{
	const struct cwj_job *job = s->p->job;

	*ret = *job;
	ret->search = 0;
	ret->fraction = fraction;
	ret->n_evaluations = ret->n_gates = 0;
	ret->evaluations = calloc(job->n_evaluations + 1, sizeof(*ret->evaluations));
	ret->gates = calloc(job->n_gates + 1, sizeof(*ret->gates));
	if (!ret->evaluations || !ret->gates || asprintf(&ret->output, "%s/%g", s->folder, fraction) < 0) {
		free(ret->evaluations);
		free(ret->gates);
		return no_memory(err);
	}
	for (size_t i = 0; i < job->n_evaluations; i++) {
		const struct cwj_evaluation *e = &job->evaluations[i];
		size_t gates = ret->n_gates;
		for (size_t k = 0; k < job->n_gates && is_costly(s, e) == costly; k++) {
			if (is_of(&job->gates[k], e))
				ret->gates[ret->n_gates++] = job->gates[k];
		}
		if (ret->n_gates > gates)
			ret->evaluations[ret->n_evaluations++] = *e;
	}
	return 0;
}

static void free_job(struct cwj_job *job)
{
	free(job->output);
	free(job->evaluations);
	free(job->gates);
}

/* Scores that all tries share lie in the cache of all jobs, or where there is none in one of their own. */
static void share_scores(const struct search *s, struct cwe_pipeline *p)
{
	if (!p->cache || p->cache_size == 0) {
		p->cache = s->cache;
		p->cache_size = CACHE_SIZE;
		p->cache_age = 0;
	}
}

/* The report of a try, which lies in its output or, rejected, beside it. */
static int read_report(const char *output, int rejected, json_t **ret, struct cwb_err *err)
{
	char *path = NULL;
	int rc = asprintf(&path, "%s%s/report.json", output, rejected ? ".rejected" : "") < 0 ? no_memory(err) : 0;

	if (rc == 0)
		rc = cwb_json_load_file(path, REPORT_LIMIT, CWB_JSON_DEPTH, ret, err);
	free(path);
	return rc;
}

/* Removes what a try left. */
static int remove_try(const struct search *s, const char *output, struct cwb_err *err)
{
	const char *name = strrchr(output, '/') + 1;
	char rejected[64];
	int rc = cwb_file_remove_tree(s->fd, name, err);

	snprintf(rejected, sizeof(rejected), "%s.rejected", name);
	return rc == 0 ? cwb_file_remove_tree(s->fd, rejected, err) : rc;
}

/* Runs one kind of a try's evaluations; *ret_passed. Its gate's rows are added to `rows`, *ret_bits is set. */
static int run_part(const struct search *s, double fraction, int costly, json_t *rows, int *ret_passed, double *ret_bits,
	struct cwb_err *err)
{
	struct cwe_pipeline part = *s->p;
	struct cwj_job job;
	struct cwb_err why = {0};
	json_t *report = NULL;
	int rc = make_job(s, fraction, costly, &job, err);

	if (rc != 0)
		return rc;
	if (job.n_gates == 0) {
		free_job(&job);
		return 0;
	}
	part.job = &job;
	part.scratch = s->scratch;
	part.finished_is_done = 1;
	share_scores(s, &part);
	rc = cwe_pipeline_run(&part, &why);
	*ret_passed = rc == 0;
	if (rc != 0 && rc != CWP_EGATE)
		rc = cwb_err_prefix(err ? (*err = why, err) : &why, "trying fraction %g", fraction);
	else
		rc = read_report(job.output, rc == CWP_EGATE, &report, err);
	if (rc == 0 && json_array_extend(rows, json_object_get(report, "gate")) != 0)
		rc = no_memory(err);
	if (rc == 0)
		*ret_bits = json_number_value(json_object_get(json_object_get(report, "size"), "bits_per_weight"));
	rc = rc == 0 ? remove_try(s, job.output, err) : rc;
	json_decref(report);
	free_job(&job);
	return rc;
}

static int write_notes(const struct search *s, struct cwb_err *err)
{
	size_t length = 0;
	char *text = cwb_json_dump(s->tries, &length);
	int rc = text ? cwb_file_replace(s->fd, NOTES, text, length, 0600, err) : no_memory(err);

	free(text);
	return rc;
}

/* One fraction: benchmarks that generate text only where the others passed. */
static int try_fraction(struct search *s, double fraction, struct cwb_err *err)
{
	const struct cwp_host *host = &s->p->host->table;
	json_t *rows = json_array();
	int passed = 1;
	double bits = 0;
	char text[128];
	int rc = rows ? run_part(s, fraction, 0, rows, &passed, &bits, err) : no_memory(err);

	if (rc == 0 && passed)
		rc = run_part(s, fraction, 1, rows, &passed, &bits, err);
	if (rc == 0 && json_array_append_new(s->tries, json_pack("{s:f,s:b,s:f,s:O}", "fraction", fraction, "passed", passed,
			"bits_per_weight", bits, "gate", rows)) != 0)
		rc = no_memory(err);
	json_decref(rows);
	if (rc == 0)
		rc = write_notes(s, err);
	if (rc == 0) {
		snprintf(text, sizeof(text), "fraction %g %s the gate, %.2f bits a weight", fraction, passed ? "passes" : "fails", bits);
		host->log(host->ctx, CWP_LOG_INFO, text);
		if (s->p->checkpoint)
			s->p->checkpoint(s->p->arg);
	}
	return rc;
}

/* What is noted, for cwe_search_next; how many. */
static size_t list_tries(const struct search *s, struct cwe_tried tried[MOST_TRIES])
{
	size_t i, n = 0;
	json_t *row;

	json_array_foreach (s->tries, i, row) {
		if (n < MOST_TRIES)
			tried[n++] = (struct cwe_tried){json_number_value(json_object_get(row, "fraction")),
				json_is_true(json_object_get(row, "passed"))};
	}
	return n;
}

static int conditions_met(const json_t *row)
{
	size_t i;
	const json_t *gate;
	int n = 0;

	json_array_foreach (json_object_get(row, "gate"), i, gate)
		n += json_is_true(json_object_get(gate, "passed"));
	return n;
}

/* No fraction passes: names the one that met most conditions, of equals the least, and what it fails. */
static int refuse(const struct search *s, struct cwb_err *err)
{
	const json_t *best = NULL, *gate;
	char failed[300] = "";
	size_t i;
	json_t *row;

	json_array_foreach (s->tries, i, row) {
		double f = json_number_value(json_object_get(row, "fraction"));
		if (!best || conditions_met(row) > conditions_met(best) ||
			(conditions_met(row) == conditions_met(best) && f < json_number_value(json_object_get(best, "fraction"))))
			best = row;
	}
	json_array_foreach (json_object_get(best, "gate"), i, gate) {
		size_t n = strlen(failed);
		if (!json_is_true(json_object_get(gate, "passed")))
			snprintf(failed + n, sizeof(failed) - n, "%s%s is %g, the bound %g", n > 0 ? "; " : "",
				json_string_value(json_object_get(gate, "metric")), json_number_value(json_object_get(gate, "measured")),
				json_number_value(json_object_get(gate, "bound")));
	}
	return cwb_err_set(err, CWP_EGATE, "no fraction up to %g passes the gate; the best of %zu tries is %g: %s. Raise "
		"protect.at-most, or ask less of the gate", s->p->job->at_most, json_array_size(s->tries),
		json_number_value(json_object_get(best, "fraction")), failed);
}

/* "<scratch>/search<name>", which exists then; freed with free(). */
static int make_folder(const char *name, const char *scratch, char **ret, struct cwb_err *err)
{
	if (asprintf(ret, "%s/" FOLDER "%s", scratch, name) < 0) {
		*ret = NULL;
		return no_memory(err);
	}
	return cwb_file_make_folders(*ret, 0700, err);
}

/* Notes of an attempt before this one; what cannot be read is tried again. */
static int open_search(struct search *s, struct cwb_err *err)
{
	char *text = NULL;
	size_t length = 0;
	int rc = make_folder("", s->p->scratch, &s->folder, err);

	rc = rc == 0 ? make_folder("/scratch", s->p->scratch, &s->scratch, err) : rc;
	rc = rc == 0 ? make_folder("/cache", s->p->scratch, &s->cache, err) : rc;
	s->fd = rc == 0 ? open(s->folder, O_DIRECTORY | O_RDONLY | O_CLOEXEC) : -1;
	if (rc == 0 && s->fd < 0)
		rc = cwb_err_errno(err, "scratch folder %s", s->folder);
	if (rc == 0 && cwb_file_read_at(s->fd, NOTES, REPORT_LIMIT, &text, &length, NULL) == 0)
		(void)cwb_json_load(text, length, REPORT_LIMIT, CWB_JSON_DEPTH, &s->tries, NULL);
	free(text);
	if (rc == 0 && !json_is_array(s->tries)) {
		json_decref(s->tries);
		s->tries = json_array();
		rc = s->tries ? 0 : no_memory(err);
	}
	return rc;
}

static void close_search(struct search *s, int keep)
{
	int scratch = keep ? -1 : open(s->p->scratch, O_DIRECTORY | O_RDONLY | O_CLOEXEC);

	if (scratch >= 0) {
		(void)cwb_file_remove_tree(scratch, FOLDER, NULL);
		(void)close(scratch);
	}
	if (s->fd >= 0)
		(void)close(s->fd);
	json_decref(s->tries);
	free(s->folder);
	free(s->scratch);
	free(s->cache);
}

/* Tries until the answer is known. */
static int search(struct search *s, double *ret, struct cwb_err *err)
{
	struct cwe_tried tried[MOST_TRIES];
	double next = 0;
	int rc = 0;

	*ret = -1;
	while (rc == 0 && json_array_size(s->tries) < MOST_TRIES &&
		(next = cwe_search_next(tried, list_tries(s, tried), s->p->job->at_most)) >= 0)
		rc = try_fraction(s, next, err);
	for (size_t i = 0, n = list_tries(s, tried); rc == 0 && i < n; i++) {
		if (tried[i].passed && (*ret < 0 || tried[i].fraction < *ret))
			*ret = tried[i].fraction;
	}
	return rc == 0 && *ret < 0 ? refuse(s, err) : rc;
}

/* The job itself, with the fraction that was found: its digest stays that of the job as it was written. */
static int run_found(const struct search *s, double fraction, struct cwb_err *err)
{
	struct cwe_pipeline last = *s->p;
	struct cwj_job job = *s->p->job;

	job.fraction = fraction;
	last.job = &job;
	last.search = s->tries;
	share_scores(s, &last);
	return cwe_pipeline_run(&last, err);
}

/* A finished output needs no search, and is no place for another. */
static int is_finished(const struct cwj_job *job)
{
	char *path = NULL;
	int there = asprintf(&path, "%s/manifest.json", job->output) >= 0 && access(path, F_OK) == 0;

	free(path);
	return there;
}

int cwe_search_run(const struct cwe_pipeline *p, struct cwb_err *err)
{
	struct search s = {.p = p, .fd = -1};
	json_t *plan = NULL;
	double fraction = -1;
	int rc = open_search(&s, err);

	if (rc == 0 && is_finished(p->job)) {
		rc = run_found(&s, p->job->fraction, err);
		close_search(&s, 0);
		return rc;
	}
	rc = rc == 0 ? cwe_pipeline_plan(p, &plan, err) : rc;
	s.plan = plan;
	rc = rc == 0 ? search(&s, &fraction, err) : rc;
	rc = rc == 0 ? run_found(&s, fraction, err) : rc;
	/* What may go on later needs the tries; what is over, or was wrong from the start, does not. */
	close_search(&s, rc != 0 && rc != CWP_EGATE && cwb_err_exit(rc) != 65);
	json_decref(plan);
	return rc;
}
