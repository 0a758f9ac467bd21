/*
 * gatehouse doctor: what is wrong with a configuration, this machine or a node. Each examination
 * writes down what it found; none needs what another has found, so that one trouble does not hide
 * the next.
 */
#ifndef GATEHOUSE_CTL_DOCTOR_H
#define GATEHOUSE_CTL_DOCTOR_H

#include "client.h"
#include "config.h"

enum finding { FINDING_OK, FINDING_WARNING, FINDING_PROBLEM };

struct doctor {
	const struct invocation *inv;
	struct config *config; /* NULL: none was named, or it has mistakes */
	const char *config_file; /* as people named it; NULL */
	struct client *client; /* NULL: no node answers */
	cJSON *status;         /* the node's answer to "status", or NULL */
	cJSON *checks;         /* [{"check","state","text","next"}, …] */
};

/* Note a finding. next: a command or step worth trying; NULL or "" for none. */
void doctor_found(struct doctor *doctor, enum finding finding, const char *check, const char *next,
	const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* doctor_config.c: the file, its commands, the worst case against the limits, state folder, disk,
 * addresses. Sets config. */
void doctor_examine_config(struct doctor *doctor);
/* The folder of the databases: rights, who uses it, room. pid: the node that is known, or 0. */
void doctor_examine_state(struct doctor *doctor, const char *dir, int pid);
/* doctor_node.c: socket, state, versions, servers. Sets client and status. */
void doctor_examine_node(struct doctor *doctor);
/* doctor_machine.c: what of the kernel a node uses, the clock, the programs beside this one. */
void doctor_examine_machine(struct doctor *doctor);

#endif
