// Times networks in OpenCV's dnn module: requests on stdin, answers on stdout, as
// env/measure/helper_runtime.h says. A program of its own, without torch and without our libraries.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <iostream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <opencv2/core/version.hpp>
#include <opencv2/dnn.hpp>

namespace {

using Clock = std::chrono::steady_clock;
constexpr int kWarmUpRuns = 3;
constexpr double kWarmUpUs = 10000;

struct Loaded {
  cv::dnn::Net net;
  cv::Mat images;
  bool warm = false;
};

double RunOnce(Loaded& network) {
  const Clock::time_point start = Clock::now();
  network.net.setInput(network.images);
  const cv::Mat outputs = network.net.forward();
  const double us = std::chrono::duration<double, std::micro>(Clock::now() - start).count();
  if (outputs.empty()) throw std::runtime_error("the network gives no output");
  return us;
}

// "1x3x32x32"
std::vector<int> ParseShape(const std::string& text) {
  std::vector<int> shape;
  std::istringstream words(text);
  for (std::string word; std::getline(words, word, 'x');) shape.push_back(std::stoi(word));
  if (shape.empty()) throw std::runtime_error("shape " + text + " has no dimensions");
  return shape;
}

class Helper {
 public:
  std::string Answer(const std::string& line) {
    std::istringstream words(line);
    std::string what;
    words >> what;
    if (what == "version") return CV_VERSION;
    if (what == "load") return Load(words);
    if (what == "time") return Time(words);
    if (what == "unload") {
      Find(words);
      networks_.erase(last_);
      return "";
    }
    throw std::runtime_error("unknown request " + what);
  }

 private:
  Loaded& Find(std::istringstream& words) {
    words >> last_;
    const auto found = networks_.find(last_);
    if (found == networks_.end()) {
      throw std::runtime_error("there is no network " + std::to_string(last_));
    }
    return found->second;
  }

  std::string Load(std::istringstream& words) {
    int threads = 1;
    std::string shape, path;
    words >> threads >> shape >> std::ws;
    std::getline(words, path);
    cv::setNumThreads(threads);
    Loaded network;
    network.net = cv::dnn::readNetFromONNX(path);
    network.net.setPreferableBackend(cv::dnn::DNN_BACKEND_OPENCV);
    network.net.setPreferableTarget(cv::dnn::DNN_TARGET_CPU);
    const std::vector<int> sizes = ParseShape(shape);
    network.images.create(static_cast<int>(sizes.size()), sizes.data(), CV_32F);
    cv::RNG(1).fill(network.images, cv::RNG::UNIFORM, -1, 1);
    RunOnce(network);  // so that what is refused is refused here
    networks_[next_] = network;
    return std::to_string(next_++);
  }

  std::string Time(std::istringstream& words) {
    Loaded& network = Find(words);
    int64_t runs = 0;
    words >> runs;
    if (!network.warm) {
      double total = 0;
      for (int i = 0; i < kWarmUpRuns || total < kWarmUpUs; ++i) total += RunOnce(network);
      network.warm = true;
    }
    std::ostringstream times;
    times.setf(std::ios::fixed);
    times.precision(3);
    for (int64_t i = 0; i < runs; ++i) times << (i > 0 ? " " : "") << RunOnce(network);
    return times.str();
  }

  std::map<int64_t, Loaded> networks_;
  int64_t next_ = 1;
  int64_t last_ = 0;  // the network that a request named
};

// Messages of OpenCV go over several lines.
std::string OneLine(std::string text) {
  for (char& c : text) {
    if (c == '\n' || c == '\r' || c == '\t') c = ' ';
  }
  return text;
}

}  // namespace

int main() {
  Helper helper;
  for (std::string line; std::getline(std::cin, line);) {
    std::string answer;
    try {
      answer = helper.Answer(line);
      answer = answer.empty() ? "ok" : "ok " + answer;
    } catch (const std::exception& error) {
      answer = "error " + OneLine(error.what());
    }
    std::cout << answer << '\n' << std::flush;
  }
  return 0;
}
