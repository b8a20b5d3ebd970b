/** The shell of the page: navigation, keys, the paste box, and which page an address shows. */
import { render } from "preact";
import { ErrorBoundary, lazy, LocationProvider, Route, Router } from "preact-iso";
import { connect } from "./data/live.ts";
import { Announcer } from "./parts/announcer.tsx";
import { Keys } from "./parts/keys.tsx";
import { Navigation } from "./parts/navigation.tsx";
import { Unknown } from "./pages/unknown.tsx";
import { Today } from "./pages/today.tsx";

const Activity = lazy(() => import("./pages/activity.tsx").then((module) => module.Activity));
const JobPage = lazy(() => import("./pages/job.tsx").then((module) => module.JobPage));
const Library = lazy(() => import("./pages/library.tsx").then((module) => module.Library));
const System = lazy(() => import("./pages/system.tsx").then((module) => module.System));
const Watch = lazy(() => import("./pages/watch.tsx").then((module) => module.Watch));

function Page() {
  return (
    <LocationProvider>
      <a class="skip" href="#content">To the content</a>
      <Navigation />
      <main id="content" tabIndex={-1}>
        <ErrorBoundary>
          <Router>
            <Route path="/" component={Today} />
            <Route path="/activity" component={Activity} />
            <Route path="/j/:id" component={JobPage} />
            <Route path="/library" component={Library} />
            <Route path="/v/:id" component={Watch} />
            <Route path="/system" component={System} />
            <Route default component={Unknown} />
          </Router>
        </ErrorBoundary>
      </main>
      <Keys />
      <Announcer />
    </LocationProvider>
  );
}

const root = document.getElementById("page");
if (root) {
  root.replaceChildren();
  connect();
  render(<Page />, root);
}
