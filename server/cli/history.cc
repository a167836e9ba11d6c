#include "server/cli/history.h"

#include "absl/strings/str_cat.h"
#include "server/cli/format.h"

namespace amc {

std::string CanonicalLine(const v1::Episode& episode) {
  std::string line = absl::StrCat("{\"number\":", episode.number(),
                                  ",\"note\":", JsonQuote(episode.note()), ",\"steps\":[");
  for (int i = 0; i < episode.steps_size(); ++i) {
    const v1::Step& step = episode.steps(i);
    absl::StrAppend(&line, i > 0 ? "," : "", "{\"group\":", JsonQuote(step.group()),
                    ",\"action\":", RoundTrip(step.action()),
                    ",\"executed\":", RoundTrip(step.executed()), ",\"kept\":", step.kept(), "}");
  }
  absl::StrAppend(&line, "],\"policy\":{");
  for (int i = 0; i < episode.policy().decisions_size(); ++i) {
    const v1::Decision& decision = episode.policy().decisions(i);
    absl::StrAppend(&line, i > 0 ? "," : "", JsonQuote(decision.target()), ":", decision.kept());
  }
  const v1::Measurement& measured = episode.measurement();
  absl::StrAppend(&line, "},\"cost\":{\"macs\":", episode.cost().macs(),
                  ",\"params\":", episode.cost().params(),
                  "},\"measurement\":{\"top1\":", RoundTrip(measured.top1()),
                  ",\"top5\":", RoundTrip(measured.top5()));
  absl::StrAppend(&line, ",\"loss\":", RoundTrip(measured.loss()),
                  ",\"kl\":", RoundTrip(measured.kl()), ",\"images\":", measured.images(),
                  ",\"macs\":", measured.cost().macs(), ",\"params\":", measured.cost().params(),
                  "}");
  absl::StrAppend(&line, ",\"reward\":", RoundTrip(episode.reward()), "}");
  return line;
}

}  // namespace amc
