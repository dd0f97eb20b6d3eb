"""FeedGenerator: makes a page of a home feed at the moment it is asked for; owns nothing."""
