SELECT EXISTS (SELECT FROM goverse.objects) OR EXISTS (SELECT FROM goverse.replies)
