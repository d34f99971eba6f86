/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* cwp-probe: opens one plugin file, prints one JSON object, exits. Nothing else of the project opens a plugin
 * that was not seen before. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "config.h"
#include "engine/plugin/trust.h"
#include "probe/describe.h"
#include "probe/devices.h"
#include "engine/plugin/guard.h"

enum { EXIT_REFUSED = 65, EXIT_BAD_USAGE = 64 };

static const char help_text[] = "usage: cwp-probe [--timeout SECONDS] [--check-owner] [--devices] FILE\n"
				"\n"
				"Opens the plugin FILE and prints what it says about itself as one JSON object.\n"
				"\n"
				"  --devices          print the devices of a backend instead: {\"devices\": [{\"uuid\", \"name\",\n"
				"                     \"memory\"}, ..], \"reason\"}\n"
				"  --timeout SECONDS  give up on a plugin that takes longer (default 10);\n"
				"                     0: open it in this process, unguarded, for debuggers\n"
				"  --check-owner      refuse FILE unless all of its path belongs to root or this user\n"
				"                     and nobody else can write to it, as a worker does\n"
				"  --help             this text\n"
				"  --version          version\n"
				"\n"
				"Exit status: 0 accepted; 65 refused, with {\"error\"} on standard output\n"
				"and the reason on standard error; 64 usage.\n";

/* Takes object over. The exit status that belongs to it. */
static int print_json(json_t *object, int fd, int status)
{
	size_t length = 0;
	char *text = object != NULL ? cwb_json_text(object, JSON_COMPACT, &length) : NULL;
	int rc = -1;

	if (text != NULL) {
		text[length] = '\n'; /* in the place of the NUL: the length goes with it */
		rc = cwe_guard_write(fd, text, length + 1);
	}
	free(text);
	json_decref(object);
	return rc == 0 ? status : EXIT_FAILURE;
}

/* The reason goes to standard error as well, for people and for logs. */
static int print_error(const char *path, const struct cwb_err *error, int fd)
{
	fprintf(stderr, "cwp-probe: %s\n", error->message);
	return print_json(cwx_describe_error(path, error), fd, EXIT_REFUSED);
}

/* What to open, and how. */
struct request {
	const char *path;
	int check_owner;
	int devices;
};

static int check_owner(const char *path, struct cwb_err *err)
{
	char *absolute = path[0] == '/' ? strdup(path) : realpath(path, NULL);

	if (absolute == NULL) {
		return cwb_err_errno(err, "%s", path);
	}
	int rc = cwe_trust_check(absolute, NULL, err);
	free(absolute);
	return rc;
}

/* Opens the file and prints what it is, or why not. */
static int probe(void *arg, int fd)
{
	const struct request *request = arg;
	const char *path = request->path;
	struct cwe_plugin plugin;
	struct cwb_err err = {0};
	json_t *object = NULL;

	if ((!request->check_owner || check_owner(path, &err) == 0) && cwe_plugin_open(path, &plugin, &err) == 0) {
		object = request->devices ? cwx_devices(&plugin, &err) : cwx_describe(&plugin, &err);
		free(plugin.path);
	}
	return object != NULL ? print_json(object, fd, EXIT_SUCCESS) : print_error(path, &err, fd);
}

static int probe_guarded(struct request *request, double seconds)
{
	const char *path = request->path;
	struct cwb_err err = {0};
	char *text = NULL;
	size_t length = 0;
	int status = 0;
	json_t *object = NULL;

	if (cwe_guard_run(seconds, probe, request, path, &text, &length, &status, &err) == 0) {
		object = json_loadb(text, length, 0, NULL);
		if (!json_is_object(object) || (status != EXIT_SUCCESS && status != EXIT_REFUSED)) {
			cwb_err_set(&err, CWP_EPLUGIN,
				"%s: ended the process with status %d while it was loaded; a plugin must never exit: report it to its vendor", path,
				status);
		}
	}
	if (err.code != 0) {
		json_decref(object);
		object = NULL;
		status = print_error(path, &err, STDOUT_FILENO);
	} else {
		status = print_json(object, STDOUT_FILENO, status);
	}
	free(text);
	return status;
}

/* What the plugin prints goes to standard error here too. */
static int probe_here(struct request *request)
{
	int out = dup(STDOUT_FILENO);

	if (out < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0) {
		perror("cwp-probe: standard output");
		return EXIT_FAILURE;
	}
	return probe(request, out);
}

static int usage_error(const char *why, const char *value)
{
	fprintf(stderr, "cwp-probe: %s%s; see cwp-probe --help\n", why, value);
	return EXIT_BAD_USAGE;
}

int main(int argc, char **argv)
{
	static const struct option long_options[] = {{"timeout", required_argument, NULL, 't'},
		{"check-owner", no_argument, NULL, 'o'}, {"devices", no_argument, NULL, 'd'}, {"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'}, {NULL, 0, NULL, 0}};
	struct request request = {0};
	double seconds = 10;
	char *end;
	int option;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		switch (option) {
		case 't':
			seconds = strtod(optarg, &end);
			if (end == optarg || *end != '\0' || !(seconds >= 0 && seconds <= 86400)) {
				return usage_error("--timeout takes 0 to 86400 seconds, not ", optarg);
			}
			break;
		case 'd':
			request.devices = 1;
			break;
		case 'o':
			request.check_owner = 1;
			break;
		case 'h':
			fputs(help_text, stdout);
			return EXIT_SUCCESS;
		case 'V':
			puts("cwp-probe " PACKAGE_VERSION);
			return EXIT_SUCCESS;
		default:
			return EXIT_BAD_USAGE;
		}
	}
	if (argc - optind != 1) {
		return usage_error("one plugin file is needed", "");
	}
	request.path = argv[optind];
	return seconds > 0 ? probe_guarded(&request, seconds) : probe_here(&request);
}
