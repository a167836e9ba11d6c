// The families of amc's commands, one .cc each.
#pragma once

#include <vector>

#include "server/cli/command.h"

namespace amc {

std::vector<Command> InspectCommands();  // inspect, init
std::vector<Command> RunCommands();      // run
std::vector<Command> CompareCommands();  // compare
std::vector<Command> SubmitCommands();   // submit, watch
std::vector<Command> JobCommands();      // jobs, cancel, resume, delete, export
std::vector<Command> HistoryCommands();  // history, best
std::vector<Command> WorkerCommands();   // workers, workers drain
std::vector<Command> LutCommands();      // lut import, export, list, show, check, delete
std::vector<Command> TopCommands();      // top
std::vector<Command> BackupCommands();   // backup

}  // namespace amc
