/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* cwp-worker: runs, plans, or attempts one job. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cpus.h"
#include "base/file.h"
#include "base/quantity.h"
#include "config.h"
#include "job/config.h"
#include "wire/status.h"
#include "engine/pipeline/compare.h"
#include "worker/attempt.h"
#include "worker/judge.h"
#include "worker/share.h"
#include "worker/sweep.h"

#define JOB_LIMIT (1u << 20)
#define DIRECTORIES 64
#define USAGE 64

static const char help[] =
	"usage: cwp-worker run JOB.yaml [--scratch DIR] [--plugin-dir DIR]... [--threads N] [--cpus LIST]\n"
	"                 [--gpu UUID[,UUID]...|none] [--memory SIZE] [--cache DIR [--cache-size SIZE] [--cache-age TIME]]\n"
	"       cwp-worker plan JOB.yaml [--plugin-dir DIR]... [--gpu UUID[,UUID]...|none] [--memory SIZE]\n"
	"       cwp-worker attempt --job-fd 0 --status-fd 3 --scratch DIR --directory DIR [--plugin-dir DIR]...\n"
	"                 [--cache DIR [--cache-size SIZE] [--cache-age TIME]] [--cpus LIST] [--gpu UUID[,UUID]...|none]\n"
	"                 [--memory SIZE]\n"
	"       cwp-worker plan --job-fd 0 --directory DIR [--plugin-dir DIR]... [--gpu UUID[,UUID]...|none] [--memory SIZE]\n"
	"       cwp-worker gate OUTPUT --with FILE | --job-fd 0\n"
	"       cwp-worker compare OUTPUT OUTPUT...\n"
	"\n"
	"Runs one job, or those of a matrix, in the foreground (run), says what it would need (plan), or runs one attempt\n"
	"for a daemon (attempt). Judges a finished output anew by the gate in FILE (gate), or puts several side by side\n"
	"(compare), from what they keep of every item. Exit: 0 done, 1 failed, 2 rejected by its gate, 64 usage, 65 bad input.\n";

enum { OPT_SCRATCH = 256, OPT_CACHE, OPT_CACHE_SIZE, OPT_CACHE_AGE, OPT_PLUGIN_DIR, OPT_THREADS, OPT_CPUS, OPT_GPU, OPT_MEMORY, OPT_JOB_FD,
	OPT_STATUS_FD, OPT_DIRECTORY, OPT_WITH, OPT_HELP, OPT_VERSION };

static const struct option long_options[] = {{"scratch", required_argument, NULL, OPT_SCRATCH},
	{"cache", required_argument, NULL, OPT_CACHE}, {"cache-size", required_argument, NULL, OPT_CACHE_SIZE},
	{"cache-age", required_argument, NULL, OPT_CACHE_AGE},
	{"plugin-dir", required_argument, NULL, OPT_PLUGIN_DIR}, {"threads", required_argument, NULL, OPT_THREADS},
	{"cpus", required_argument, NULL, OPT_CPUS}, {"gpu", required_argument, NULL, OPT_GPU},
	{"memory", required_argument, NULL, OPT_MEMORY},
	{"job-fd", required_argument, NULL, OPT_JOB_FD}, {"status-fd", required_argument, NULL, OPT_STATUS_FD},
	{"directory", required_argument, NULL, OPT_DIRECTORY}, {"with", required_argument, NULL, OPT_WITH}, {"help", no_argument, NULL, OPT_HELP},
	{"version", no_argument, NULL, OPT_VERSION}, {NULL, 0, NULL, 0}};

struct arguments {
	const char *verb, *file, *directory, *with;
	const char *const *operand; /* [operands], the file first */
	size_t operands;
	int job_fd;
	struct cwk_options options;
	cpu_set_t cpus;
	const char *plugin_dir[DIRECTORIES];
};

static int number(const char *text, int low, int high, int *ret)
{
	char *end;
	errno = 0;
	long n = strtol(text, &end, 10);
	if (errno != 0 || *text == '\0' || *end != '\0' || n < low || n > high) {
		(void)fprintf(stderr, "cwp-worker: %s is not a number from %d to %d\n", text, low, high);
		return -1;
	}
	*ret = (int)n;
	return 0;
}

static int quantity(const char *text, int (*parse)(const char *text, uint64_t *ret), const char *what, uint64_t *ret)
{
	if (parse(text, ret) != 0) {
		(void)fprintf(stderr, "cwp-worker: %s is no %s\n", text, what);
		return -1;
	}
	return 0;
}

/* UUIDs with commas between them, or none. */
static int check_gpus(const char *text)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-";
	const char *at = text;
	for (;;) {
		size_t n = strspn(at, allowed);
		if (n == 0 || n > 63 || (at[n] != ',' && at[n] != '\0')) {
			(void)fprintf(stderr, "cwp-worker: --gpu: %s is no list of UUIDs; write some with commas between them, as "
				"nvidia-smi -L prints them, or none\n", text);
			return -1;
		}
		if (at[n] == '\0') {
			return 0;
		}
		at += n + 1;
	}
}

static int take_cpus(struct arguments *a)
{
	struct cwb_err err = {0};

	if (cwb_cpus_parse(optarg, &a->cpus, &err) != 0) {
		(void)fprintf(stderr, "cwp-worker: --cpus: %s\n", err.message);
		return -1;
	}
	a->options.cpus = &a->cpus;
	return 0;
}

static int take_option(struct arguments *a, int option)
{
	int n = 0;
	switch (option) {
	case OPT_SCRATCH:
		a->options.scratch = optarg;
		return 0;
	case OPT_CACHE:
		a->options.cache = optarg;
		return 0;
	case OPT_CACHE_SIZE:
		return quantity(optarg, cwb_size_parse, "size such as 20GiB", &a->options.cache_size);
	case OPT_CACHE_AGE:
		return quantity(optarg, cwb_time_parse, "time such as 48h", &a->options.cache_age);
	case OPT_PLUGIN_DIR:
		if (a->options.plugin_dirs == DIRECTORIES) {
			(void)fprintf(stderr, "cwp-worker: more than %d plugin folders\n", DIRECTORIES);
			return -1;
		}
		a->plugin_dir[a->options.plugin_dirs++] = optarg;
		return 0;
	case OPT_THREADS:
		if (number(optarg, 1, 4096, &n) != 0) {
			return -1;
		}
		a->options.threads = (uint32_t)n;
		return 0;
	case OPT_CPUS:
		return take_cpus(a);
	case OPT_GPU:
		a->options.gpu = optarg;
		return check_gpus(optarg);
	case OPT_MEMORY:
		return quantity(optarg, cwb_size_parse, "size such as 20GiB", &a->options.memory);
	case OPT_JOB_FD:
		return number(optarg, 0, 1 << 20, &a->job_fd);
	case OPT_STATUS_FD:
		return number(optarg, 0, 1 << 20, &a->options.status_fd);
	case OPT_DIRECTORY:
		a->directory = optarg;
		return 0;
	case OPT_WITH:
		a->with = optarg;
		return 0;
	default:
		return -1;
	}
}

/* 0, or the exit code plus 1 of a program that is done. */
static int parse(int argc, char **argv, struct arguments *a)
{
	int option;
	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (option == OPT_HELP) {
			(void)fputs(help, stdout);
			return 1;
		}
		if (option == OPT_VERSION) {
			(void)printf("cwp-worker %s\n", PACKAGE_VERSION);
			return 1;
		}
		if (take_option(a, option) != 0) {
			(void)fputs(help, stderr);
			return USAGE + 1;
		}
	}
	a->verb = optind < argc ? argv[optind] : "";
	a->file = optind + 1 < argc ? argv[optind + 1] : NULL;
	a->operand = optind + 1 < argc ? (const char *const *)&argv[optind + 1] : NULL;
	a->operands = optind + 1 < argc ? (size_t)(argc - optind - 1) : 0;
	int attempt = strcmp(a->verb, "attempt") == 0, plan = strcmp(a->verb, "plan") == 0, run = strcmp(a->verb, "run") == 0;
	int compare = strcmp(a->verb, "compare") == 0 && a->operands >= 2 && a->operands <= CWE_OUTPUTS;
	int by_file = a->file != NULL && a->job_fd < 0, by_fd = a->file == NULL && a->job_fd >= 0 && a->directory != NULL;
	int ok = (run && by_file) || (plan && (by_file || by_fd)) ||
		(attempt && by_fd && a->options.status_fd >= 0 && a->options.scratch != NULL) ||
		(strcmp(a->verb, "gate") == 0 && a->file != NULL && (a->with != NULL) != (a->job_fd >= 0)) || compare;
	if (!ok || (!compare && a->operands > 1)) {
		(void)fputs(help, stderr);
		return USAGE + 1;
	}
	return 0;
}

/* The job's text up to a NUL byte or the end of file; what follows the NUL belongs to the control channel. */
static int read_job(int fd, char **ret_text, size_t *ret_length, size_t *ret_read)
{
	char *text = malloc(JOB_LIMIT + 4096);
	size_t length = 0;
	if (text == NULL) {
		return -ENOMEM;
	}
	for (;;) {
		ssize_t n = read(fd, text + length, JOB_LIMIT + 4096 - length);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n < 0) {
			n = -errno;
			free(text);
			return (int)n;
		}
		char *nul = memchr(text + length, '\0', (size_t)n);
		length += (size_t)n;
		if (n == 0 || nul != NULL || length >= JOB_LIMIT + 4096) {
			*ret_text = text;
			*ret_length = nul != NULL ? (size_t)(nul - text) : length;
			*ret_read = length;
			return 0;
		}
	}
}

static int from_descriptor(struct arguments *a)
{
	struct cwb_err err = {0};
	struct cwj_sweep *sweep = NULL;
	char *text = NULL;
	size_t length = 0, got = 0;
	int plan = strcmp(a->verb, "plan") == 0, code;
	int r = read_job(a->job_fd, &text, &length, &got);
	if (r != 0) {
		r = cwb_err_set(&err, r, "the job cannot be read: %s", strerror(-r));
	} else {
		r = cwj_sweep_parse(text, length, a->directory, &sweep, &err);
	}
	if (r != 0 && plan) {
		cwk_error_json(&err);
		code = 65;
	} else if (r != 0) {
		(void)cww_status_send(a->options.status_fd, cww_status_end(CWW_RESULT_FAILED, &err), NULL);
		code = 1;
	} else {
		a->options.trusted_only = 1;
		a->options.control_fd = plan ? -1 : a->job_fd;
		if (got > length + 1) {
			a->options.control = text + length + 1;
			a->options.control_length = got - length - 1;
		}
		code = plan ? cwk_plan(sweep, &a->options, 1)
			: sweep->n_keys > 0 ? cwk_sweep_attempt(sweep, &a->options)
					    : cwk_attempt(sweep->points[0].job, &a->options);
	}
	cwj_sweep_free(sweep);
	free(text);
	return code;
}

static int from_file(struct arguments *a)
{
	struct cwb_err err = {0};
	struct cwj_sweep *sweep = NULL;
	if (cwj_sweep_read(a->file, &sweep, &err) != 0) {
		cwk_error_print(&err);
		return 65;
	}
	a->options.file = a->file;
	int code = strcmp(a->verb, "plan") == 0 ? cwk_plan(sweep, &a->options, 0)
		: sweep->n_keys > 0		? cwk_sweep_run(sweep, &a->options)
						: cwk_attempt(sweep->points[0].job, &a->options);
	cwj_sweep_free(sweep);
	return code;
}

/* The conditions come as a file, or where a daemon asks on a descriptor. */
static int judge(struct arguments *a)
{
	struct cwb_err err = {0};
	char *text = NULL;
	size_t length = 0, got = 0;
	int r = a->with != NULL ? cwb_file_read(a->with, JOB_LIMIT, &text, &length, &err) : read_job(a->job_fd, &text, &length, &got);
	if (r != 0 && a->with == NULL) {
		(void)cwb_err_set(&err, r, "the gate cannot be read: %s", strerror(-r));
		cwk_error_json(&err);
	} else if (r != 0) {
		cwk_error_print(&err);
	}
	int code = r == 0 ? cwk_gate(a->file, text, length, a->with) : 65;
	free(text);
	return code;
}

int main(int argc, char **argv)
{
	struct arguments a = {.job_fd = -1, .options = {.status_fd = -1, .control_fd = -1,
		.cache_size = CWJ_CACHE_SIZE, .cache_age = CWJ_CACHE_AGE}};
	a.options.plugin_dir = a.plugin_dir;
	int r = parse(argc, argv, &a);
	if (r != 0) {
		return r - 1;
	}
	if (a.options.cpus != NULL && cwk_share_take(a.options.cpus) != 0) {
		a.options.cpus = NULL;
	}
	if (strcmp(a.verb, "gate") == 0) {
		return judge(&a);
	}
	if (strcmp(a.verb, "compare") == 0) {
		return cwk_compare(a.operand, a.operands, a.job_fd >= 0);
	}
	return a.file != NULL ? from_file(&a) : from_descriptor(&a);
}
