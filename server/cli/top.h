// What `amc top` shows: one moment of a server, as text that fits a terminal, or as JSON. Pure.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "amc/v1/admin.pb.h"
#include "amc/v1/job.pb.h"
#include "amc/v1/worker.pb.h"
#include "server/cli/terminal.h"

namespace amc {

struct TopSnapshot {
  std::string address;
  v1::ServerStatus status;
  std::vector<v1::Job> jobs;                               // queued or running
  std::map<std::string, std::vector<v1::Episode>> recent;  // by job: its last ones, by number
  std::vector<v1::Worker> workers;                         // who are there
  std::string trouble;                                     // why it is not newer; empty: it is new
};

// The server, jobs (running ones first, then in the order in which they will run), workers. At most
// `size.rows` lines of `size.columns` characters; what does not fit is counted.
std::vector<std::string> TopLines(const TopSnapshot& snapshot, TerminalSize size);

// {"status": ServerStatus, "jobs": [Job], "workers": [Worker]}, as proto3 JSON.
std::string TopJson(const TopSnapshot& snapshot);

}  // namespace amc
