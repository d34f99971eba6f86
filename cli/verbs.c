/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The table of verbs. Help, completions and the checks of the command line come from it; a test
 * holds the manual page to it. */
#include <stdio.h>
#include <string.h>

#include "cli/cwc.h"

const struct cwc_option cwc_globals[] = {
	{"socket", "DIR", "folder of the daemon's sockets (or $CWP_SOCKET)", 0},
	{"admin", NULL, "use the administrators' socket: everybody's jobs", 0},
	{"json", NULL, "one JSON document on standard output", 0},
	{"no-color", NULL, "no colours (or $NO_COLOR)", 0},
	{"help", NULL, "this text", 0},
	{"version", NULL, "the version of cwpctl alone", 0},
	{0},
};

static const struct cwc_option submit_options[] = {
	{"quiet", NULL, "print the id alone", 0},
	{"dry-run", NULL, "check and plan only: what the job would use", 0},
	{"follow", NULL, "then follow it to its end (also -f)", 0},
	{"hold", NULL, "keep it from starting until it is released", 0},
	{"priority", "N", "-100 (last) to 100 (first); 0 by default", 0},
	{"after", "ID",
		"start only when that job is done; any:ID when it ended, notok:ID when it was not "
		"done",
		1},
	{"key", "UUID", "the same key again answers the same job", 0},
	{0},
};

static const struct cwc_option list_options[] = {
	{"quiet", NULL, "print the ids alone", 0},
	{"state", "STATE", "only jobs in this state", 1},
	{"children", NULL, "also the jobs of sweeps", 0},
	{"sweep", "ID", "only the jobs of that sweep", 0},
	{0},
};

static const struct cwc_option reason_options[] = {
	{"reason", "TEXT", "why; others see it", 0},
	{0},
};

static const struct cwc_option wait_options[] = {
	{"timeout", "TIME", "wait no longer than this (90s, 15m, 2h)", 0},
	{"quiet", NULL, "print nothing", 0},
	{0},
};

static const struct cwc_option report_options[] = {
	{"all", NULL, "also each group of items: categories, languages", 0},
	{0},
};

static const struct cwc_option gate_options[] = {
	{"with", "FILE", "a job file, or one that holds its gate alone; - for standard input", 0},
	{0},
};

static const struct cwc_option compare_options[] = {
	{"html", "FILE", "also write a page that needs nothing else", 0},
	{0},
};

static const struct cwc_option events_options[] = {
	{"from", "CURSOR", "from this cursor on; 0: the oldest kept", 0},
	{0},
};

static const struct cwc_option log_options[] = {
	{"follow", NULL, "go on until the job ends (also -f)", 0},
	{"from", "CURSOR", "from this byte on", 0},
	{0},
};

static const struct cwc_option doctor_options[] = {
	{"bundle", NULL, "also write what a bug report needs into cwp-doctor-TIME.json here", 0},
	{0},
};

static const struct cwc_option drain_options[] = {
	{"reason", "TEXT", "shown to those who submit", 0},
	{"stop", NULL, "running attempts checkpoint and stop", 0},
	{0},
};

static const struct cwc_option version_options[] = {
	{"client", NULL, "of this program alone; needs no daemon", 0},
	{0},
};

const struct cwc_verb cwc_verbs[] = {
	{"submit", "JOB.yaml", "Check, plan and queue a job",
		"JOB.yaml is described in cwp-job(5); - reads standard input.\n", CWC_FILES, 1, 1,
		submit_options, cwc_submit},
	{"list", "", "List all jobs, finished ones too", NULL, CWC_NO_OPERAND, 0, 0, list_options,
		cwc_list},
	{"show", "ID", "Show everything about a job", NULL, CWC_IDS, 1, 1, NULL, cwc_show},
	{"follow", "ID", "Follow a job to its end",
		"Progress is a bar on a terminal and plain lines elsewhere. The exit status is the "
		"job's: 0 done, 1 failed or\n"
		"cancelled, 2 rejected. Ctrl-C ends the following, not the job.\n",
		CWC_IDS, 1, 1, NULL, cwc_follow},
	{"wait", "ID...", "Wait until jobs have ended",
		"The exit status is 0 only if all of them are done.\n", CWC_IDS, 1, -1,
		wait_options, cwc_wait},
	{"cancel", "ID", "Stop a job for good", NULL, CWC_IDS, 1, 1, reason_options, cwc_cancel},
	{"hold", "ID", "Keep a job from starting; pause a running one", NULL, CWC_IDS, 1, 1,
		reason_options, cwc_hold},
	{"release", "ID", "Queue a held or paused job again", NULL, CWC_IDS, 1, 1, NULL,
		cwc_release},
	{"retry", "ID", "Queue a failed, rejected or cancelled job again", NULL, CWC_IDS, 1, 1,
		NULL, cwc_retry},
	{"rm", "ID", "Forget a job that has ended; its output stays", NULL, CWC_IDS, 1, 1, NULL,
		cwc_remove},
	{"top", "ID", "Put a queued job in front of all others", NULL, CWC_IDS, 1, 1, NULL,
		cwc_top},
	{"priority", "ID N", "Set a job's priority, -100 (last) to 100 (first)", NULL, CWC_IDS, 2,
		2, NULL, cwc_priority},
	{"log", "ID", "Print a job's log", NULL, CWC_IDS, 1, 1, log_options, cwc_log},
	{"report", "ID", "Print a finished job's results: verdict, before, quantized, protected", NULL,
		CWC_IDS, 1, 1, report_options, cwc_report},
	{"gate", "ID", "Judge a finished job's results anew; changes nothing",
		"The exit status is 0 where all conditions hold, else 2.\n", CWC_IDS, 1, 1,
		gate_options, cwc_gate},
	{"compare", "ID...", "Print the results of several jobs side by side",
		"Differences are to the first job, on the same items.\n", CWC_IDS, 2, 8,
		compare_options, cwc_compare},
	{"explain", "ID", "Say why a job waits", NULL, CWC_IDS, 1, 1, NULL, cwc_explain},
	{"events", "", "Print what happens to all jobs, as it happens",
		"With --json one object a line.\n", CWC_NO_OPERAND, 0, 0, events_options,
		cwc_events},
	{"plugins", "[show NAME]", "List the plugins; show one with its options", NULL, CWC_WORDS,
		0, 2, NULL, cwc_plugins},
	{"doctor", "", "Look for what commonly goes wrong",
		"The exit status is 78 where something is bad.\n", CWC_NO_OPERAND, 0, 0,
		doctor_options, cwc_doctor},
	{"metrics", "", "Print the daemon's counters, as Prometheus reads them", NULL,
		CWC_NO_OPERAND, 0, 0, NULL, cwc_metrics},
	{"reload", "", "Read configuration and plugins again", NULL, CWC_NO_OPERAND, 0, 0, NULL,
		cwc_reload},
	{"drain", "", "Accept and start no more jobs", NULL, CWC_NO_OPERAND, 0, 0, drain_options,
		cwc_drain},
	{"undrain", "", "Accept and start jobs again", NULL, CWC_NO_OPERAND, 0, 0, NULL,
		cwc_undrain},
	{"version", "", "Print the versions of cwpctl and of the daemon", NULL, CWC_NO_OPERAND, 0,
		0, version_options, cwc_version},
	{"completion", "bash", "Print the completions for a shell", NULL, CWC_WORDS, 1, 1, NULL,
		cwc_completion},
	{0},
};

const struct cwc_verb *cwc_verb_find(const char *name)
{
	const struct cwc_verb *verb;

	for (verb = cwc_verbs; verb->name; verb++) {
		if (strcmp(verb->name, name) == 0) {
			return verb;
		}
	}
	return NULL;
}

static const char *operand_kind(enum cwc_operand operand)
{
	static const char *const kind[] = {[CWC_NO_OPERAND] = "none",
		[CWC_IDS] = "ids",
		[CWC_FILES] = "files",
		[CWC_WORDS] = "words"};

	return kind[operand];
}

static void print_bash_options(const struct cwc_option *option)
{
	for (; option && option->name; option++) {
		printf(" --%s", option->name);
	}
}

/* One line a verb: "name kind --option ...", which the fixed part below takes apart. */
int cwc_completion(struct cwc *cwc)
{
	const struct cwc_verb *verb;

	if (strcmp(cwc->operand[0], "bash") != 0) {
		return cwc_usage_error(
			cwc, "no completions for \"%s\" (nearest: bash)", cwc->operand[0]);
	}
	printf("# SPDX-FileCopyrightText: cwpd developers\n# SPDX-License-Identifier: Apache-2.0\n"
	       "# Completions of cwpctl for bash; printed by \"cwpctl completion bash\".\n"
	       "# shellcheck shell=bash\n_cwpctl_verbs='");
	for (verb = cwc_verbs; verb->name; verb++) {
		printf("%s %s", verb->name, operand_kind(verb->operand));
		print_bash_options(verb->options);
		printf("\n");
	}
	printf("'\n_cwpctl_globals='");
	print_bash_options(cwc_globals);
	printf("'\n"
	       "_cwpctl()\n{\n"
	       "\tlocal word=${COMP_WORDS[COMP_CWORD]} verb='' line='' i\n"
	       "\tlocal -a fields words\n"
	       "\tfor ((i = 1; i < COMP_CWORD; i++)); do\n"
	       "\t\tcase ${COMP_WORDS[i]} in\n"
	       "\t\t--socket) ((i++)) ;;\n"
	       "\t\t-*) ;;\n"
	       "\t\t*) verb=${COMP_WORDS[i]}; break ;;\n"
	       "\t\tesac\n"
	       "\tdone\n"
	       "\tif [ -z \"$verb\" ]; then\n"
	       "\t\tmapfile -t words < <(cut -d ' ' -f 1 <<<\"$_cwpctl_verbs\")\n"
	       "\telse\n"
	       "\t\tline=$(grep \"^$verb \" <<<\"$_cwpctl_verbs\")\n"
	       "\t\tread -r -a fields <<<\"$line\"\n"
	       "\t\tcase $word:${fields[1]-} in\n"
	       "\t\t-*) words=(\"${fields[@]:2}\") ;;\n"
	       "\t\t*:ids) mapfile -t words < <(cwpctl list --quiet 2>/dev/null) ;;\n"
	       "\t\t*:files) mapfile -t COMPREPLY < <(compgen -f -- \"$word\"); return ;;\n"
	       "\t\t*:words) case $verb in plugins) words=(show) ;; completion) words=(bash) ;; "
	       "esac ;;\n"
	       "\t\tesac\n"
	       "\tfi\n"
	       "\tmapfile -t COMPREPLY < <(compgen -W \"${words[*]-} $([[ $word == -* ]] && echo "
	       "\"$_cwpctl_globals\")\" "
	       "-- \"$word\")\n"
	       "}\n"
	       "complete -F _cwpctl cwpctl\n");
	return CWC_DONE;
}
