#include "derive/cursors.hpp"

#include "guard/boundary.hpp"

extern "C" {
#include "nodes/memnodes.h"
#include "utils/memutils.h"
#include "utils/portal.h"
}

namespace sliding_sync {

namespace {

// The server keeps its table of portals to itself, and a query for each transaction would be too dear. But
// each portal has a memory context of its own, which has the portal's name.
std::vector<std::string> names_of_portals() {
    std::vector<std::string> names;
    for (MemoryContext all = TopMemoryContext->firstchild; all != nullptr; all = all->nextchild) {
        if (std::string_view(all->name) != "TopPortalContext") {
            continue;
        }
        for (MemoryContext portal = all->firstchild; portal != nullptr; portal = portal->nextchild) {
            if (portal->ident != nullptr) {
                names.emplace_back(portal->ident);
            }
        }
    }
    return names;
}

bool contains(const std::vector<std::string>& names, const std::string& name) noexcept {
    return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

OutOfReach::OutOfReach() : exceptions_(std::uncaught_exceptions()), there_(names_of_portals()) {
    for (const std::string& name : there_) {
        Portal const portal = GetPortalByName(name.c_str());
        // the server neither runs nor drops a portal that is being run
        if (PortalIsValid(portal) && portal->status == PORTAL_READY) {
            portal->status = PORTAL_ACTIVE;
            closed_.push_back(name);
        }
    }
}

OutOfReach::~OutOfReach() {
    for (const std::string& name : closed_) {
        Portal const portal = GetPortalByName(name.c_str());
        if (PortalIsValid(portal) && portal->status == PORTAL_ACTIVE) {
            portal->status = PORTAL_READY;
        }
    }
    if (std::uncaught_exceptions() > exceptions_) {
        return;
    }
    for (const std::string& name : names_of_portals()) {
        Portal const portal = contains(there_, name) ? nullptr : GetPortalByName(name.c_str());
        if (PortalIsValid(portal) && portal->status != PORTAL_ACTIVE && portal->portalPinned == false) {
            PortalDrop(portal, false);  // neither pinned nor being run: nothing to refuse
        }
    }
}

}  // namespace sliding_sync
