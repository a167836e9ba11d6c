// Text tables with aligned columns.
#pragma once

#include <string>
#include <vector>

namespace amc {

enum class Align { kLeft, kRight };

// Plain data until printed: thread-compatible.
class Table {
 public:
  struct Column {
    std::string title;
    Align align = Align::kLeft;
  };
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // Missing cells are empty, surplus ones are dropped.
  void AddRow(std::vector<std::string> cells);
  bool empty() const { return rows_.empty(); }

  // Title line, rule, rows; two blanks between columns, no trailing blanks.
  std::string ToString() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace amc
